"""`make release VERSION=`: make the checked-out commit a release.

The release is the commit that is checked out. The commit after it, made here, writes it into the
ledger: no commit can hold its own hash. The tag is on the release, not on that commit.
"""

import re
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from scripts import ledger, screen
from scripts.ledger import Release
from scripts.repository import ROOT, git, surroundings
from scripts.screen import Refused

BRANCH = "main"
SECTION = re.compile(r"^## \[(?P<version>\S+)\] - (?P<date>\d{4}-\d{2}-\d{2})\s*$", re.MULTILINE)


def release(
    version: Annotated[str, typer.Option(envvar="VERSION", help="Three numbers.")] = "",
) -> None:
    """Release the checked-out commit."""
    made = ready(ROOT, version)
    if subprocess.run(["make", "check"], cwd=ROOT, env=surroundings(), check=False).returncode:
        raise Refused("make check is not green: mend that first. Nothing was released.")
    record(ROOT, made)
    screen.what_next(
        f"{version} is {made.commit[:12]}, in the ledger and tagged.",
        f"To publish it: git push origin {BRANCH} {version}",
    )


def ready(repository: Path, version: str) -> Release:
    """Look whether the checked-out commit can be this release.

    Raises:
        Refused: something is missing; nothing was changed.
    """
    wanted = ledger.parse(version)
    branch = git(repository, "branch", "--show-current")
    if branch != BRANCH:
        raise Refused(f"This is {branch or 'no branch'}: releases are made on {BRANCH}.")
    if git(repository, "status", "--porcelain"):
        raise Refused("Something is not committed: commit it, or stash it, and release again.")
    releases = ledger.read(repository)
    if releases and wanted <= ledger.parse(releases[-1].version):
        raise Refused(f"{version} is not greater than the last release, {releases[-1].version}.")
    if git(repository, "tag", "--list", version):
        raise Refused(f"There is a tag {version} already: git tag --delete {version}, if in error.")
    return Release(version, git(repository, "rev-parse", "HEAD"), date_of(repository, version))


def date_of(repository: Path, version: str) -> str:
    """Find the date of a release in the changelog, which has to say something about it.

    Raises:
        Refused: there is no such section, or nothing in it.
    """
    text = (repository / "CHANGELOG.md").read_text("utf-8")
    section = next((match for match in SECTION.finditer(text) if match["version"] == version), None)
    if section is None:
        raise Refused(f"CHANGELOG.md has no section for it: ## [{version}] - YYYY-MM-DD.")
    if not re.match(r"\s*(?:### .*\s+)?[^\s#]", text[section.end() :]):
        raise Refused(f"CHANGELOG.md says nothing about {version}: write what a team notices.")
    return section["date"]


def record(repository: Path, made: Release) -> None:
    """Write a release into the ledger, commit that, and tag the release."""
    ledger.append(repository, made)
    try:
        git(repository, "commit", "--quiet", "--message", f"Release {made.version}", ledger.LEDGER)
    except BaseException:
        git(repository, "checkout", "--quiet", "HEAD", "--", ledger.LEDGER)
        raise
    git(
        repository,
        *("tag", "--annotate", "--message", f"Release {made.version}", made.version, made.commit),
    )


if __name__ == "__main__":
    screen.start(release)
