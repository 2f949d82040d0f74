"""What both hooks know: the ownership table of this release, and a project's git repository."""

import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).resolve().parent.parent / "questions" / "90-files.yml"


class Refused(Exception):
    """A sentence for the user: what is wrong, and what to do about it."""


@dataclass(frozen=True)
class Row:
    """One row of the ownership table."""

    path: str
    owner: str
    since: tuple[int, ...]
    extend: str

    def match(self, path: str) -> re.Match[str] | None:
        """Match a path in the project; the group "step" tells a step's folder."""
        pattern = re.escape(self.path.strip("/")).replace(r"\*", "[^/]*")
        pattern = pattern.replace(r"\{step\}", "(?P<step>[^/]+)", 1)
        pattern = pattern.replace(r"\{step\}", "(?P=step)")
        return re.fullmatch(pattern + ("/.*" if self.path.endswith("/") else ""), path)


def table() -> list[Row]:
    """Read the ownership table of the release that these hooks belong to."""
    settings: dict[str, Any] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return [
        Row(row["path"], row["class"], tuple(row["since"]), row.get("extend", ""))
        for row in settings["files"]["default"]
    ]


def row_of(path: str, rows: list[Row]) -> Row | None:
    """Find the row of a path; None means that the template knows nothing of it."""
    return next((row for row in rows if row.match(path)), None)


def release(commit: str) -> tuple[int, ...]:
    """Read a release off the answers' _commit, as 90-files.yml does, padded to be compared."""
    if "." not in commit:
        return (0,)
    parts = commit.lstrip("v").split("-")[0].split(".")
    return (*(int(part) if part.isdecimal() else 0 for part in parts), 0, 0)


def git(project: Path, *arguments: str) -> str:
    """Run git in the project and return what it prints; a failure is a sentence."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=project,
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            check=True,
            encoding="utf-8",
            errors="surrogateescape",
        )
    except FileNotFoundError:
        raise Refused("git is not installed: install it, then try again.") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip() or f"exit code {error.returncode}"
        raise Refused(f"git {arguments[0]} failed in {project}: {said}") from None
    return done.stdout


def paths(project: Path, *arguments: str) -> list[str]:
    """List the paths that a git command prints with -z, relative to the project."""
    return sorted({path for path in git(project, *arguments).split("\0") if path})


def present(project: Path) -> list[str]:
    """List the project's files as git sees them: tracked, or untracked and not ignored."""
    known = paths(project, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return [path for path in known if (project / path).is_file() or (project / path).is_symlink()]


def digest(path: Path) -> str:
    """Hash a file's content, or a link's target."""
    content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
    return hashlib.sha256(content).hexdigest()


def some(names: list[str], limit: int = 5) -> str:
    """Join names for a sentence, the first few of many."""
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
