"""From every release there ever was, a team's project is updated to this checkout, and works."""

from pathlib import Path

import copier
import pytest
from conftest import ROOT, Project, Template, commit, git
from projects import Generated

from scripts import ledger

RELEASES = [release.version for release in ledger.read(ROOT)]
# What a team does to its own files, and to what it shares with the platform.
EDITS = {
    "src/my_model/features.py": ("StandardScaler()", "StandardScaler(with_mean=True)"),
    "config/project.yaml": ("regularisation: 1.0", "regularisation: 0.5"),
    "README.md": ("## Words", "## Our own words\n\nAsk us.\n\n## Words"),
    "project.mk": ("# Your own", "ours: ## Ours\n\t@echo ours\n\n# Your own"),
}
DELETED = ["docs/decisions/README.md", "tests/unit/test_notebooks.py"]


@pytest.fixture
def history(draft: Template) -> Template:
    """Give a clone in which every release has its tag."""
    ledger.tag_releases(draft.path)
    return draft


def team(history: Template, release: str, to: Path) -> Project:
    """Generate a project from a release, and do a team's work in it."""
    copier.run_copy(str(history.path), to, vcs_ref=release, defaults=True, quiet=True, unsafe=False)
    git(to, "init", "--quiet", "--initial-branch=main")
    commit(to, "Generate")
    for path, (old, new) in EDITS.items():
        text = (to / path).read_text("utf-8")
        assert old in text, path
        (to / path).write_text(text.replace(old, new, 1), encoding="utf-8")
    git(to, "rm", "--quiet", *DELETED)
    commit(to, "The team's work")
    return Project(to)


@pytest.mark.parametrize("release", RELEASES)
def test_nothing_is_lost(history: Template, release: str, tmp_path: Path) -> None:
    """Edits stay, deletions stay, no conflict; managed files are those of a fresh project."""
    project = team(history, release, tmp_path / "project")
    before = {path: project.read(path) for path in EDITS}
    status = project.update()
    assert not [line for line in status if line[:2] not in {" M", " D", "??"}], status
    for path, (_, new) in EDITS.items():
        assert new in project.read(path), path
        if path != "README.md":
            assert project.read(path) == before[path], path
    assert not [path for path in DELETED if (project.path / path).exists()]
    assert not list(project.path.rglob("*.rej"))

    fresh = history.render(tmp_path / "fresh")
    for folder in ("runtime", "tools", "tests/contracts"):
        for file in (path for path in (fresh / folder).rglob("*") if path.is_file()):
            assert project.read(str(file.relative_to(fresh))) == file.read_text("utf-8"), file
    commit(project.path, "Update")
    assert project.update() == [], "a second update changes nothing"


@pytest.mark.project
@pytest.mark.parametrize("release", RELEASES)
def test_the_project_still_works(history: Template, release: str, tmp_path: Path) -> None:
    """Set up at the old release, run, updated: all verbs succeed, and the model is still known."""
    project = team(history, release, tmp_path / "project")
    generated = Generated(project.path)
    generated.make("setup", "run").succeeded()
    commit(project.path, "Lock")
    model = next(project.path.glob("artifacts/models/*/record.json"))
    project.update()
    generated.make("setup", "check", "test", "run").succeeded()
    assert generated.last_run["state"] == "succeeded"
    assert model.exists()
    commit(project.path, "Update")
    assert git(project.path, "status", "--porcelain") == ""
