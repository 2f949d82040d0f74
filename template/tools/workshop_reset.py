"""`make workshop-reset LAB=3`: the project as it was when the lab was opened; nothing is lost."""

import os
import tempfile
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from runtime.errors import ProjectError
from tools import screen
from tools.labs import progress
from tools.labs.lab import NOBODY, Lab, named
from tools.project import ROOT
from tools.template import git

NO_HOOKS = ("-c", f"core.hooksPath={os.devnull}")


def reset(
    lab: Annotated[str, typer.Option(help="The number of a lab.")] = "",
) -> None:
    """Keep all that is there on a branch, then bring back the files of before the lab."""
    if not lab:
        raise ProjectError("say which lab, as in make workshop-reset LAB=3")
    chosen = named(lab)
    refuse(chosen)
    before = progress.read().of(chosen).commit
    tree = everything(before)
    kept = keep(chosen, tree) if tree != git("rev-parse", f"{before}^{{tree}}").strip() else ""
    if kept:
        # From what is there to what was: git takes away what the lab added, and nothing else.
        git("read-tree", tree)
        git("update-index", "-q", "--refresh")
        git("read-tree", "-m", "-u", tree, before)
        if git("diff", "--cached", "--name-only", "HEAD"):
            message = f"Begin lab {chosen.number} again"
            git(*identity(), *NO_HOOKS, "commit", "--quiet", "-m", message)
    progress.begun_again(chosen)
    if kept:
        screen.console.print(f"What you did is on the branch {kept}.", soft_wrap=True)
        screen.what_next(f"`git diff HEAD {kept}` shows it; `git merge {kept}` brings it back.")
    else:
        screen.console.print("No file had changed since; only the check begins again.")
    screen.what_next(
        f"`make workshop LAB={chosen.number}`; runs of before do not count for it any more."
    )


def refuse(lab: Lab) -> None:
    """Refuse where there is no telling what was before, or something else is under way.

    Raises:
        ProjectError: it says what to do instead.
    """
    git("rev-parse", "--show-toplevel")
    before = progress.read().of(lab).commit
    if not before:
        raise ProjectError(
            f"lab {lab.number} was never opened in a git repository, so nobody knows where it "
            f"began: `make workshop LAB={lab.number}` opens it"
        )
    if git("ls-files", "--unmerged"):
        raise ProjectError("a merge is not finished: resolve it, or git merge --abort")
    if Path(git("rev-parse", "--show-toplevel").strip()) != ROOT:
        raise ProjectError(
            "the project is a folder of a larger repository, of which this would bring back all: "
            f"git checkout {before[:9]} -- . brings back the project's files"
        )
    try:
        git("cat-file", "-e", f"{before}^{{commit}}")
    except ProjectError:
        raise ProjectError(
            f"the commit {before[:9]}, where lab {lab.number} began, is not in this repository "
            "any more: git reflog may know where its files are"
        ) from None


def everything(before: str) -> str:
    """The tree of all files as they are now: committed, changed, new; ignored ones stay out of it.

    Save for those that were in git before the lab: they are about to be written.
    """
    then = filter(None, git("ls-tree", "-r", "-z", "--name-only", before).split("\0"))
    there = [path for path in then if os.path.lexists(ROOT / path)]
    with tempfile.TemporaryDirectory() as folder:
        index = f"{folder}/index"
        git("read-tree", "HEAD", GIT_INDEX_FILE=index)
        git("add", "--all", GIT_INDEX_FILE=index)
        git("add", "--force", "--", *there, GIT_INDEX_FILE=index)
        return git("write-tree", GIT_INDEX_FILE=index).strip()


def keep(lab: Lab, tree: str) -> str:
    """Keep these files on a branch of their own, and return its name."""
    message = f"What was done in lab {lab.number}"
    commit = git(*identity(), "commit-tree", tree, "-p", "HEAD", "-m", message).strip()
    taken = git("branch", "--list", "--format=%(refname:short)", f"lab-{lab.number}-kept-*")
    names = (f"lab-{lab.number}-kept-{number}" for number in count(1))
    branch = next(name for name in names if name not in taken.split())
    git("branch", branch, commit)
    return branch


def identity() -> tuple[str, ...]:
    """Who commits, where git does not know."""
    try:
        git("var", "GIT_AUTHOR_IDENT")
    except ProjectError:
        return NOBODY
    return ()


if __name__ == "__main__":
    screen.start(reset)
