"""What a change is compared with: another commit, checked out into artifacts/base."""

import json
import os
import subprocess
import sys
from pathlib import Path

from runtime.errors import ProjectError
from tools.project import ROOT
from tools.template import git

FOLDER = ROOT / "artifacts" / "base"
# Where a make or an environment of this project is not the other commit's.
OWN = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PYTHONPATH", "VIRTUAL_ENV")
NAMES = """
import json
from tools import images
print(json.dumps([images.image(name) for name in images.names()]))
"""


def resolve(name: str, variable: str = "BASE") -> str:
    """The commit that a branch, a tag or an abbreviation names, given as a variable of make.

    Raises:
        ProjectError: there is none of that name here.
    """
    try:
        return git("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}").strip()
    except ProjectError:
        raise ProjectError(
            f"there is no commit {name!r} here: {variable} is a branch, a tag or a commit that was "
            "fetched, such as origin/main"
        ) from None


def checkout(commit: str) -> Path:
    """The project as a commit has it. What was installed and run there before is kept.

    Raises:
        ProjectError: git cannot, or the project was not there yet.
    """
    # Without the project's hooks, as nobody is working there.
    quietly = ("-c", f"core.hooksPath={os.devnull}")
    if (FOLDER / ".git").exists():
        git(*quietly, "checkout", "--quiet", "--detach", "--force", commit, cwd=FOLDER)
    else:
        add = ("worktree", "add", "--quiet", "--detach", "--force")
        git(*quietly, *add, str(FOLDER), commit)
    # The project may be a folder of a larger repository.
    project = FOLDER / git("rev-parse", "--show-prefix").strip()
    if not (project / "Makefile").exists():
        raise ProjectError(f"the commit {commit[:12]} does not have this project yet")
    return project


def images(commit: str) -> set[str]:
    """What the images of a commit are called, without registry, by that commit's own code.

    Empty where it has no images yet, or cannot say.
    """
    folder = checkout(commit)
    variables = {**surroundings(), "PYTHONPATH": f"{folder}{os.pathsep}{folder / 'src'}"}
    command = [sys.executable, "-c", NAMES]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    return set(json.loads(done.stdout)) if done.returncode == 0 else set()


def run(commit: str, pipeline: str, env: str) -> tuple[Path, bool]:
    """Run a commit's pipeline with that commit's own packages; where, and whether it succeeded."""
    folder = checkout(commit)
    log = FOLDER.with_suffix(".log")
    with log.open("w") as output:
        done = subprocess.run(
            ["make", "run", f"PIPELINE={pipeline}", f"ENV={env}"],
            cwd=folder,
            # What is only compared is tracked nowhere.
            env={k: v for k, v in surroundings().items() if not k.startswith("MLFLOW_")},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return folder, done.returncode == 0


def surroundings() -> dict[str, str]:
    """The environment's variables, without what this project's make or Python was told."""
    return {name: value for name, value in os.environ.items() if name not in OWN}
