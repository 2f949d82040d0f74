"""This repository and its git."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from scripts.screen import Refused

# What make, git, uv and this repository's own verbs put there.
OURS = re.compile(
    "GIT_(DIR|WORK_TREE|INDEX_FILE|PREFIX)|MAKE|MFLAGS|VIRTUAL_ENV|(ARGS|DEST|FLAVOUR|VERSION"
    "|PROJECTS|TO|WORKSPACE|EXAMPLES|TEMPLATE|JOBS|JSON|PUSH|CHECKS)$"
)
ROOT = Path(__file__).resolve().parent.parent


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return what it prints.

    Raises:
        Refused: git is not installed, or says no.
    """
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=surroundings(),
            capture_output=True,
            check=True,
            encoding="utf-8",
            errors="replace",
        )
    except FileNotFoundError:
        raise Refused("git is not installed: install it, then try again.") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip() or f"exit code {error.returncode}"
        raise Refused(f"git {arguments[0]} failed in {folder}: {said}") from None
    return done.stdout.strip()


def unmerged(folder: Path) -> set[str]:
    """List the files of a folder in which git knows of a conflict."""
    entries = git(folder, "ls-files", "-z", "--unmerged").split("\0")
    return {entry.partition("\t")[2] for entry in entries if entry}


def surroundings() -> Mapping[str, str]:
    """Give the environment for another repository's commands: nothing in it points to this one."""
    kept = {name: value for name, value in os.environ.items() if not OURS.match(name)}
    here = str(ROOT / ".venv")
    path = kept.get("PATH", os.defpath).split(os.pathsep)
    kept["PATH"] = os.pathsep.join(part for part in path if not part.startswith(here))
    return kept


def no_settings(folder: Path) -> dict[str, str]:
    """Give the variables that keep a person's settings of git and Copier out; files are needed."""
    gitconfig, copier = folder / "gitconfig", folder / "copier.yml"
    gitconfig.write_text("[user]\n\tname = Test\n\temail = test@example.com\n[gc]\n\tauto = 0\n")
    copier.write_text("{}\n")
    return {
        "GIT_CONFIG_GLOBAL": str(gitconfig),
        "GIT_CONFIG_NOSYSTEM": "1",
        "COPIER_SETTINGS_PATH": str(copier),
    }
