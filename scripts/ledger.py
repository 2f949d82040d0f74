"""The ledger: which commit each release is. Tags are made from it."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from packaging.version import InvalidVersion, Version

from scripts.repository import git
from scripts.screen import Refused

LEDGER = "releases.yaml"
EMPTY = "[]\n"


@dataclass(frozen=True)
class Release:
    """A released version."""

    version: str
    commit: str
    """All 40 hex digits."""
    date: str
    """YYYY-MM-DD."""
    yanked: str = ""
    """Why `make update` goes to it no more; written into the ledger by hand."""

    @property
    def line(self) -> str:
        """Return its line in the ledger."""
        return f'- {{version: "{self.version}", commit: "{self.commit}", date: "{self.date}"}}\n'


def parse(version: str) -> Version:
    """Read a version of three numbers.

    Raises:
        Refused: it is something else, a pre-release for example.
    """
    try:
        parsed = Version(version)
    except InvalidVersion:
        parsed = Version("0")
    if str(parsed) != version or len(parsed.release) != 3 or version != parsed.base_version:
        raise Refused(f"{version!r} is not a version: type three numbers, as VERSION=0.2.0.")
    return parsed


def read(repository: Path) -> list[Release]:
    """Read the ledger, oldest release first.

    Raises:
        Refused: it is missing, is no list of releases, or is out of order.
    """
    path = repository / LEDGER
    try:
        rows: list[dict[str, Any]] = yaml.safe_load(path.read_text("utf-8"))
        releases = [Release(**row) for row in rows]
    except (OSError, TypeError, yaml.YAMLError) as error:
        raise Refused(f"{path} cannot be read: {error}") from None
    versions = [parse(release.version) for release in releases]
    if any(later <= earlier for earlier, later in itertools.pairwise(versions)):
        raise Refused(f"{path} is out of order: each version must be greater than the one above.")
    return releases


def append(repository: Path, release: Release) -> None:
    """Write a release below the others."""
    path = repository / LEDGER
    path.write_text(path.read_text("utf-8").removesuffix(EMPTY) + release.line, encoding="utf-8")


def tag_releases(clone: Path) -> list[str]:
    """Tag every release of the ledger in a clone, and return the versions in order.

    A tag that is there stays. The clone needs its full history.

    Raises:
        Refused: a tag is on another commit than the ledger says, or a commit is missing.
    """
    releases = read(clone)
    for release in releases:
        form = "--format=%(objectname) %(*objectname)"
        known = git(clone, "tag", "--list", form, release.version)
        if not known:
            git(clone, "tag", "--no-sign", release.version, release.commit)
        elif release.commit not in known.split():
            raise Refused(
                f"The tag {release.version} in {clone} is not on {release.commit}, as the ledger "
                f"says: git tag --delete {release.version}"
            )
    return [release.version for release in releases]
