"""`make release`, the ledger, and the tags that are made from it."""

from pathlib import Path

import pytest
import yaml
from conftest import ROOT, commit, git

from scripts import ledger, release
from scripts.screen import Refused

CHANGELOG = """# Changelog

## [Unreleased]

## [0.2.0] - 2026-12-24

### Added

- Something.

## [0.1.1] - 2026-12-01

## [0.1.0] - 2026-11-22

- The first.
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a repository that could be released."""
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "--quiet", "--initial-branch=main")
    (path / "CHANGELOG.md").write_text(CHANGELOG)
    (path / ledger.LEDGER).write_text(f"# A comment that stays.\n{ledger.EMPTY}")
    commit(path)
    return path


def make(repository: Path, version: str) -> str:
    """Release the checked-out commit, and return its hash."""
    made = release.ready(repository, version)
    release.record(repository, made)
    return made.commit


def tags(repository: Path) -> dict[str, str]:
    """Return the commit of each tag."""
    return {
        tag: git(repository, "rev-parse", f"{tag}^{{commit}}").strip()
        for tag in git(repository, "tag").split()
    }


def test_a_release(repository: Path) -> None:
    """The tag is on the commit that was checked out, the ledger's line in the one after it."""
    head = git(repository, "rev-parse", "HEAD").strip()
    assert make(repository, "0.1.0") == head
    assert tags(repository) == {"0.1.0": head}
    assert git(repository, "cat-file", "-t", "0.1.0").strip() == "tag"
    assert git(repository, "rev-parse", "HEAD~").strip() == head
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "log", "-1", "--format=%s").strip() == "Release 0.1.0"
    text = (repository / ledger.LEDGER).read_text()
    assert text.startswith("# A comment that stays.\n- {")
    assert yaml.safe_load(text) == [{"version": "0.1.0", "commit": head, "date": "2026-11-22"}]


def test_a_release_is_withdrawn(repository: Path) -> None:
    """Its line says why, and the releases after it are made as before."""
    make(repository, "0.1.0")
    file = repository / ledger.LEDGER
    file.write_text(file.read_text().replace('"}', '", yanked: "It bites."}'))
    commit(repository)
    make(repository, "0.2.0")
    assert [release.yanked for release in ledger.read(repository)] == ["It bites.", ""]
    assert ledger.tag_releases(repository) == ["0.1.0", "0.2.0"]


def test_tags_in_a_clone(repository: Path, tmp_path: Path) -> None:
    """A clone without tags gets them all, as often as it likes."""
    commits = {"0.1.0": make(repository, "0.1.0")}
    commit(repository)
    commits["0.2.0"] = make(repository, "0.2.0")
    git(tmp_path, "clone", "--quiet", "--no-tags", str(repository), "clone")
    for _ in range(2):
        assert ledger.tag_releases(tmp_path / "clone") == ["0.1.0", "0.2.0"]
        assert tags(tmp_path / "clone") == commits
    # Those that `make release` made are as good.
    assert ledger.tag_releases(repository) == ["0.1.0", "0.2.0"]


def test_a_tag_elsewhere_is_not_moved(repository: Path) -> None:
    """It is named, with what to do."""
    make(repository, "0.1.0")
    git(repository, "tag", "--force", "0.1.0", "HEAD")
    with pytest.raises(Refused, match=r"git tag --delete 0\.1\.0"):
        ledger.tag_releases(repository)


def test_a_clone_without_history(repository: Path, tmp_path: Path) -> None:
    """A commit that is missing is an error, not a tag too few."""
    made = make(repository, "0.1.0")
    git(tmp_path, "clone", "--quiet", "--depth=1", "--no-tags", f"file://{repository}", "clone")
    with pytest.raises(Refused, match=made):
        ledger.tag_releases(tmp_path / "clone")


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("", "is not a version"),
        ("1", "is not a version"),
        ("v0.2.0", "is not a version"),
        ("0.2", "is not a version"),
        ("0.02.0", "is not a version"),
        ("0.2.0rc1", "is not a version"),
        ("0.2.0+local", "is not a version"),
        ("0.1.0", "not greater than the last release, 0.1.0"),
        ("0.0.9", "not greater than the last release, 0.1.0"),
        ("0.3.0", "no section"),
        ("0.1.1", "says nothing about 0.1.1"),
    ],
)
def test_a_wrong_version(repository: Path, version: str, reason: str) -> None:
    """It is refused before anything is changed."""
    make(repository, "0.1.0")
    head = git(repository, "rev-parse", "HEAD")
    with pytest.raises(Refused, match=reason):
        release.ready(repository, version)
    assert git(repository, "rev-parse", "HEAD") == head


@pytest.mark.parametrize("what", ["changed", "untracked", "branch", "detached", "tag", "order"])
def test_a_repository_that_is_not_ready(repository: Path, what: str) -> None:
    """What is in the way is named."""
    make(repository, "0.1.0")
    reasons = {
        "changed": "not committed",
        "untracked": "not committed",
        "branch": "This is other: releases are made on main",
        "detached": "This is no branch",
        "tag": "There is a tag 0.2.0 already",
        "order": "out of order",
    }
    if what == "changed":
        (repository / "CHANGELOG.md").write_text(f"{CHANGELOG}\n")
    elif what == "untracked":
        (repository / "new").write_text("")
    elif what == "branch":
        git(repository, "switch", "--quiet", "--create", "other")
    elif what == "detached":
        git(repository, "checkout", "--quiet", "--detach")
    elif what == "tag":
        git(repository, "tag", "0.2.0")
    else:
        ledger.append(repository, ledger.read(repository)[0])
        commit(repository)
    with pytest.raises(Refused, match=reasons[what]):
        release.ready(repository, "0.2.0")


def test_a_commit_that_fails(repository: Path) -> None:
    """The ledger is then as it was, and nothing is tagged."""
    made = release.ready(repository, "0.1.0")
    hook = repository / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\necho no ducks here >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(Refused, match="no ducks here"):
        release.record(repository, made)
    assert git(repository, "status", "--porcelain") == ""
    assert tags(repository) == {}


def test_this_repositorys_ledger(tmp_path: Path) -> None:
    """Every release in it can be tagged in a clone, and is in the changelog."""
    git(tmp_path, "clone", "--quiet", "--no-tags", str(ROOT), "clone")
    clone = tmp_path / "clone"
    versions = ledger.tag_releases(clone)
    assert [entry.version for entry in ledger.read(clone)] == versions
    for entry in ledger.read(clone):
        assert release.date_of(clone, entry.version) == entry.date
        git(clone, "merge-base", "--is-ancestor", entry.commit, "HEAD")
