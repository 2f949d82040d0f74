"""What git says of this checkout."""

import getpass
import os
import subprocess
from typing import NamedTuple

from tools.project import ROOT


class Commit(NamedTuple):
    """The commit that is checked out."""

    hash: str
    """Empty outside a git repository, and before its first commit."""
    dirty: bool
    """Whether a file differs from it."""


def commit() -> Commit:
    """The commit that is checked out now."""
    found = _git("rev-parse", "HEAD")
    return Commit(found, bool(found and _git("status", "--porcelain")))


def author() -> str:
    """Who works here, as commits say it."""
    try:
        return _git("config", "user.name") or getpass.getuser()
    except (KeyError, OSError):
        # In a container, a user may be a number alone.
        return str(os.getuid())


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
