"""`make propose-release`: prepare the pull request that releases in an environment.

The release is made here as a commit, with its model copied and verified; until the pull request is
merged, nothing serves it. What the environments before were given in this checkout comes along.
"""

import os
from typing import Annotated

import typer

from runtime.errors import ProjectError
from tools import base, proposal, released, screen
from tools.project import project
from tools.release import release


def propose(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "staging",
    since: Annotated[str, typer.Option(help="The commit from which on; empty: as it is.")] = "",
    run: Annotated[str, typer.Option(help="A model's id or a run's; empty: the newest.")] = "",
    reason: Annotated[str, typer.Option(envvar="REASON", help="Why, for the history.")] = "",
) -> None:
    """Release, and write down what a pull request needs."""
    if not project().environment(env).namespace:
        raise ProjectError(
            f"the environment {env!r} has no cluster, so nothing waits for a pull request there: "
            f"`make release ENV={env}`"
        )
    start = base.resolve(since or "HEAD", "SINCE")
    proposal.clear()
    release(env, run, reason)
    made = released.require(env)
    if proposal.head() == start:
        screen.what_next(f"{made.model} is released in {env} already: nothing to propose.")
        return
    body = (
        f"Merging this releases {made.model} in {env}, and `make deliver ENV={env}` deploys it. "
        f"Until then nothing serves it.\n\n{proposal.told(start)}"
    )
    if page := workflow_page():
        body += f"\n\nPrepared by {page}."
    proposal.write(start, name_of(made), f"Release {made.model} in {env}", body)


def name_of(made: released.Release) -> str:
    """What is proposed: another image of the same model is another release."""
    digest = made.image.rpartition(":")[2][:12]
    return f"{made.model}-{digest}" if digest else made.model


def workflow_page() -> str:
    """Where the run of a workflow is looked at; empty outside of one."""
    known = os.environ
    if "GITHUB_RUN_ID" not in known:
        return ""
    place = f"{known.get('GITHUB_SERVER_URL', '')}/{known.get('GITHUB_REPOSITORY', '')}"
    return f"{place}/actions/runs/{known['GITHUB_RUN_ID']}"


if __name__ == "__main__":
    screen.start(propose)
