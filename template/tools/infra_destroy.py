"""`make infra-destroy`: take down what Terraform made."""

import sys
from typing import Annotated

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
    if env != "nonprod" and name and name != project().name:
        raise ProjectError(f"NAME={name} is not this project: nothing was destroyed")
    if env in CLUSTERS:
        screen.notice("take the platform down first: its load balancers hold the network back")
    else:
        require_unused(root)
    root.prepare()
    try:
        planned = root.plan("-destroy")
        # Before anything goes: halfway, what is protected would be all that is left.
        if protected := planned.protected():
            raise ProjectError(
                f"nothing was destroyed, as it is protected ({', '.join(protected)}): give "
                f"`deletion_protection = false` in {root.place}/terraform.tfvars, "
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
    if not name and sys.stdin.isatty():
        name = typer.prompt(f"To destroy all of {root.place}, type {wanted}")
    if name != wanted:
        raise ProjectError(f"nothing was destroyed: {root.env} goes by NAME={wanted} only")


if __name__ == "__main__":
    screen.start(destroy)
