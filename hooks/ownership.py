"""What the hooks know: the ownership table of this release, and a project's git repository."""

import functools
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# Of paths, which need not be text either.
ENCODING, ERRORS = "utf-8", "surrogateescape"


class Refused(Exception):
    """A sentence for the user: what is wrong, and what to do about it."""


@dataclass(frozen=True)
class Row:
    """One row of the ownership table."""

    path: str
    owner: str
    extend: str

    def match(self, path: str) -> bool:
        """Tell whether a path in the project is of this row."""
        return bool(pattern(self.path).fullmatch(path))


@functools.cache
def pattern(of: str) -> re.Pattern[str]:
    """Compile the path of a row, in which * and {step} stand for a part of a path."""
    written = re.escape(of.strip("/")).replace(r"\*", "[^/]*")
    written = written.replace(r"\{step\}", "(?P<step>[^/]+)", 1).replace(r"\{step\}", "(?P=step)")
    return re.compile(written + ("/.*" if of.endswith("/") else ""))


def table(release: Path) -> list[Row]:
    """Read the ownership table of a release, whose files are in this folder."""
    text = (release / "questions" / "90-files.yml").read_text(encoding="utf-8")
    settings: dict[str, Any] = yaml.safe_load(text)
    return [
        Row(row["path"], row["class"], row.get("extend", ""))
        for row in settings["files"]["default"]
    ]


def row_of(path: str, rows: Iterable[Row]) -> Row | None:
    """Find the row of a path; None means that the template knows nothing of it."""
    return next((row for row in rows if row.match(path)), None)


def git(folder: Path, *arguments: str, stdin: str = "", **environment: str) -> str:
    """Run git in a folder and return what it prints; a failure is a sentence."""
    return raw_git(folder, *arguments, stdin=stdin, **environment).decode(ENCODING, ERRORS)


def raw_git(folder: Path, *arguments: str, stdin: str = "", **environment: str) -> bytes:
    """Run git in a folder and return what it prints, which need not be text."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C", **environment},
            input=stdin.encode(ENCODING, ERRORS),
            capture_output=True,
            check=True,
        )
    except FileNotFoundError:
        raise Refused("git is not installed: install it, then try again.") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(ENCODING, ERRORS).strip() or f"exit code {error.returncode}"
        raise Refused(f"git {arguments[0]} failed in {folder}: {said}") from None
    return done.stdout


def paths(folder: Path, *arguments: str) -> list[str]:
    """List the paths that a git command prints with -z."""
    return sorted({path for path in git(folder, *arguments).split("\0") if path})


def some(names: list[str], limit: int = 5) -> str:
    """Join names for a sentence, the first few of many."""
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
