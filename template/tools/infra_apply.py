"""`make infra-apply`: have Terraform do what it plans."""

from typing import Annotated

import typer

from runtime.errors import ProjectError
from tools import screen
from tools.terraform import CLUSTERS, Root


def apply(
    env: Annotated[str, typer.Option(help="nonprod, prod or bootstrap.")] = "nonprod",
    cloud: Annotated[str, typer.Option(help="aws or gcp; empty: the only one.")] = "",
    allow: Annotated[str, typer.Option(help="Addresses that may be taken away.")] = "",
    *,
    yes: Annotated[bool, typer.Option(help="Do not ask.")] = False,
) -> None:
    """Plan, refuse what would take work or data away, ask, and apply that very plan."""
    root = Root.of(env, cloud)
    root.prepare()
    try:
        made = root.plan()
        made.guard(allow.split())
        if not made.empty:
            if not yes and not typer.confirm(f"Apply this to {root.place}?"):
                raise ProjectError("nothing was applied")
            root.apply()
    finally:
        root.forget_plan()
    if env not in CLUSTERS:
        write_backends(root)
        screen.what_next(
            f"Commit infra/environments/*/{root.cloud}/backend.hcl. Then "
            f"`make infra-apply ENV={root.bootstraps[0]} CLOUD={root.cloud}`."
        )
    else:
        screen.what_next(
            f"`make infra-config ENV={env} CLOUD={root.cloud}` brings it into config/environments."
        )


def write_backends(root: Root) -> None:
    """Say in each cluster's root where its state is."""
    state = root.outputs()["state"]
    for env in root.bootstraps:
        place = f"{env}/{root.cloud}"
        lines = {
            "aws": [
                f'bucket = "{state["bucket"]}"',
                f'key    = "{place}/terraform.tfstate"',
                f'region = "{state["region"]}"',
            ],
            "gcp": [f'bucket = "{state["bucket"]}"', f'prefix = "{place}"'],
        }
        origin = f"# Written by `make infra-apply ENV={root.env}`."
        text = "\n".join([origin, *lines[root.cloud], ""])
        Root.of(env, root.cloud).backend.write_text(text)


if __name__ == "__main__":
    screen.start(apply)
