"""`make released-since`: in which environments a release has changed since a commit."""

import json
import re
import sys
from typing import Annotated

import typer

from runtime.errors import ProjectError
from tools import released, screen
from tools.project import project
from tools.template import git

NO_COMMIT = re.compile("0+")


def released_since(
    commit: Annotated[str, typer.Option(help="Empty: all that is released.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """List environments, those first that a model passes first."""
    names = [name for name in released.ORDER if name in project().environments]
    found = [name for name in names if changed(name, commit)]
    if as_json:
        json.dump(found, sys.stdout)
        print()
        return
    for name in found:
        screen.console.print(f"{name:<8} {released.require(name).model}")
    if found:
        screen.what_next(f"`make deliver ENV={found[0]}` has its cluster serve that.")
    else:
        screen.what_next("No release has changed.")


def changed(env: str, commit: str) -> bool:
    """Whether an environment has another release than at a commit."""
    now = released.current(env)
    if not now or not commit or NO_COMMIT.fullmatch(commit):
        return bool(now)
    try:
        return bool(git("diff", "--name-only", commit, "HEAD", "--", released.path(env)).strip())
    except ProjectError:
        # A branch was written anew, and this clone has not what was there before.
        return True


if __name__ == "__main__":
    screen.start(released_since)
