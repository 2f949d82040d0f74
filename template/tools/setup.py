"""`make setup`, once the packages are installed: the golden pipelines, and what comes next."""

import subprocess

from tools import golden, screen
from tools.project import ROOT, project
from tools.runners import refuse_path


def setup() -> None:
    """Make what a fresh project lacks, and say how to start."""
    refuse_path(ROOT)
    missing = [name for name in project().pipelines if not golden.path(name).exists()]
    for name in missing:
        golden.write(name)
    if missing:
        screen.console.print(f"compiled {', '.join(missing)} into {golden.FOLDER}/")
    inside = subprocess.run(
        ["git", "rev-parse", "--is-inside-work-tree"], cwd=ROOT, capture_output=True
    )
    if inside.returncode != 0:
        screen.what_next(
            "Not a git repository yet: git init && git add -A && git commit -m 'Start'"
        )
    elif (ROOT / ".git").exists():
        subprocess.run(["pre-commit", "install"], cwd=ROOT, capture_output=True)
    if (ROOT / "workshop" / "verbs.mk").exists():
        screen.what_next("New here? `make workshop` has labs, from a first run on.")
    screen.what_next("`make run` trains a first model; `make help` shows the other verbs.")


if __name__ == "__main__":
    screen.start(setup)
