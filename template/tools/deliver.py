"""`make deliver`: deploy what is released and, if it does not serve, what was released before.

Going back is a commit, as any rollback is. It is deployed at once, and written down as a proposal,
so that git says what the cluster serves.
"""

from typing import Annotated

import typer

from runtime.errors import ProjectError
from tools import base, proposal, released, screen
from tools.deploy import SECONDS, deploy
from tools.rollback import rollback
from tools.template import git


def deliver(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    url: Annotated[str, typer.Option(help="Where the server is; empty: the cluster says.")] = "",
    wait: Annotated[int, typer.Option(min=1, help="Seconds it gets to start.")] = SECONDS,
    since: Annotated[str, typer.Option(help="The commit that others have; empty: this one.")] = "",
) -> None:
    """Deploy, ask the server, and go back if it does not answer as it should."""
    here = proposal.head()
    start = base.resolve(since or here, "SINCE")
    proposal.clear()
    try:
        deploy(env, url, wait)
        return
    except ProjectError as error:
        problem = str(error).partition("\n")[0]
    screen.warn(problem)
    failed = released.require(env)
    if len(released.standing(env)) < 2:
        raise ProjectError(
            f"{failed.model} does not serve in {env}, and no release is before it: {problem}"
        )
    try:
        rollback(env, f"{failed.model} did not serve: {problem}")
        deploy(env, url, wait)
    except ProjectError as error:
        if proposal.head() != here:
            git("reset", "--quiet", "--keep", here)
        raise ProjectError(
            f"{failed.model} does not serve in {env} ({problem}), and going back failed too: "
            f"{error}"
        ) from None
    back = released.require(env)
    body = (
        f"{failed.model} was deployed in {env} and did not serve: {problem}\n\n"
        f"{env} serves {back.model} again. Merging this lets git say so; until then the next "
        f"deployment tries {failed.model} once more.\n\n{proposal.told(start)}"
    )
    name = f"{failed.model}-{here[:7]}"
    proposal.write(start, name, f"Roll back {env} to {back.model}", body)
    raise ProjectError(f"{failed.model} does not serve in {env}, which is back at {back.model}")


if __name__ == "__main__":
    screen.start(deliver)
