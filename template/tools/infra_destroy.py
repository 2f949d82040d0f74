"""`make infra-destroy`: take down what Terraform made."""

import sys
from typing import Annotated, NoReturn

import typer

from runtime.errors import ProjectError
from tools import screen
from tools.project import project
from tools.terraform import CLUSTERS, Root


def destroy(
    env: Annotated[str, typer.Option(help="nonprod, prod or bootstrap.")] = "nonprod",
    cloud: Annotated[str, typer.Option(help="aws or gcp; empty: the only one.")] = "",
    name: Annotated[str, typer.Option(help="The project's name, which prod asks for.")] = "",
    *,
    yes: Annotated[bool, typer.Option(help="Do not ask, but in prod.")] = False,
) -> None:
    """Show what goes, ask, and destroy it: in prod by the project's name only."""
    root = Root.of(env, cloud)
    if env != "nonprod" and name != project().name and (name or not sys.stdin.isatty()):
        refuse(env, name)
    if env in CLUSTERS:
        screen.notice("take the platform down first: its load balancers hold the network back")
    else:
        require_unused(root)
    root.prepare()
    try:
        planned = root.plan("-destroy")
        # Before anything goes: halfway, what is protected would be all that is left.
        key, held = ("deletion_protection", True) if env in CLUSTERS else ("force_destroy", False)
        if planned.says(key, held):
            raise ProjectError(
                "nothing was destroyed, as it is protected: give "
                f"`{key} = {str(not held).lower()}` in {root.place}/{root.values.name}, "
                f"`make infra-apply ENV={env} CLOUD={root.cloud}`, then again"
            )
        confirm(root, name, yes=yes)
        root.apply()
    finally:
        root.forget_plan()
    screen.what_next(f"Nothing is left of {root.place}; its state stays, empty.")


def require_unused(bootstrap: Root) -> None:
    """Refuse to take the state's bucket from under a cluster.

    Raises:
        ProjectError: there is one.
    """
    for env in bootstrap.bootstraps:
        root = Root.of(env, bootstrap.cloud)
        if not root.backend.is_file():
            continue
        root.prepare()
        if not root.empty:
            raise ProjectError(
                f"nothing was destroyed: the state of {root.place} is kept there, and its cluster "
                f"is not gone yet: `make infra-destroy ENV={env} CLOUD={root.cloud}` comes first"
            )


def confirm(root: Root, name: str, *, yes: bool) -> None:
    """Ask, and refuse to go on without an answer."""
    if root.env == "nonprod":
        if not yes and not typer.confirm(f"Destroy all of {root.place}?"):
            raise ProjectError("nothing was destroyed")
        return
    wanted = project().name
    typed = name or typer.prompt(f"To destroy all of {root.place}, type {wanted}")
    if typed != wanted:
        refuse(root.env, typed)


def refuse(env: str, name: str) -> NoReturn:
    """Say by which name it goes."""
    said = f"NAME={name} is not this project, and " if name else ""
    raise ProjectError(f"nothing was destroyed: {said}{env} goes by NAME={project().name} only")


if __name__ == "__main__":
    screen.start(destroy)
