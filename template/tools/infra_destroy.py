"""`make infra-destroy`: take down what Terraform made."""

import sys
from typing import Annotated

import typer

from runtime.errors import ProjectError
from tools import screen
from tools.project import project
from tools.terraform import Root


def destroy(
    env: Annotated[str, typer.Option(help="nonprod, prod or bootstrap.")] = "nonprod",
    cloud: Annotated[str, typer.Option(help="aws or gcp; empty: the only one.")] = "",
    name: Annotated[str, typer.Option(help="The project's name, which prod asks for.")] = "",
    *,
    yes: Annotated[bool, typer.Option(help="Do not ask, but in prod.")] = False,
) -> None:
    """Show what goes, ask, and destroy it: in prod by the project's name only."""
    root = Root.of(env, cloud)
    if env != "nonprod" and name and name != project().name:
        raise ProjectError(f"NAME={name} is not this project: nothing was destroyed")
    root.prepare()
    screen.notice("take the platform down first: its load balancers would hold the network back")
    try:
        root.plan("-destroy")
        confirm(root, name, yes=yes)
        root.apply()
    finally:
        root.forget_plan()
    screen.what_next(f"Nothing is left of {root.place}; its state stays, empty.")


def confirm(root: Root, name: str, *, yes: bool) -> None:
    """Ask, and refuse to go on without an answer."""
    if root.env == "nonprod":
        if not yes and not typer.confirm(f"Destroy all of {root.place}?"):
            raise ProjectError("nothing was destroyed")
        return
    wanted = project().name
    if not name and sys.stdin.isatty():
        name = typer.prompt(f"To destroy all of {root.place}, type {wanted}")
    if name != wanted:
        raise ProjectError(f"nothing was destroyed: {root.env} goes by NAME={wanted} only")


if __name__ == "__main__":
    screen.start(destroy)
