"""`make rollback`: bring back the release before, as a new commit."""

from typing import Annotated

import typer

from runtime.errors import ProjectError
from tools import published, released, screen
from tools.commit import author
from tools.project import project
from tools.release import brought, following, message, show, uri_of


def rollback(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    reason: Annotated[str, typer.Option(envvar="REASON", help="Why, for the history.")] = "",
) -> None:
    """Take back what is released; once more, and it goes one further back."""
    environment = project().environment(env)
    if not environment.namespace:
        raise ProjectError(
            f"the environment {env!r} has no cluster, and its releases no history: "
            f"`make release ENV={env} RUN=` releases an earlier model"
        )
    with released.turn(env) as turn:
        *earlier, current = turn.standing or [released.require(env)]
        if not earlier:
            raise ProjectError(
                f"{current.model} is the first release in {env} that was not taken back: there is "
                f"none before it. `make release ENV={env} RUN=` releases another model"
            )
        back = earlier[-1]
        uri = uri_of(environment, env, back.model)
        brought(env, back.sha256)
        require_image(back.image, env)
        new = back.model_copy(
            update={
                "model_uri": uri,
                "released_at": released.now(),
                "released_by": author(),
                "reason": reason or f"takes back {current.model}",
                "takes_back": current.model,
            }
        )
        turn.commit(new, message(f"Roll back {env} to {new.model}", new, current))
        show(env, new, current)
    following(env)


def require_image(image: str, env: str) -> None:
    """Refuse to go back to an image that is gone; a registry that is silent is no reason not to."""
    if not image:
        return
    try:
        with screen.console.status("Asking the registry"):
            there = published.digest(image)
    except ProjectError as error:
        screen.warn(f"whether {image} is still there is not known: {error}")
        return
    if not there:
        raise ProjectError(
            f"the registry has no {image} any more, to which {env} would go back: bring it there "
            f"again, or `make release ENV={env} RUN=` with an image that it has"
        )


if __name__ == "__main__":
    screen.start(rollback)
