"""`make infra-plan`: what Terraform would change."""

from typing import Annotated

import typer

from tools import screen
from tools.terraform import Root


def plan(
    env: Annotated[str, typer.Option(help="nonprod, prod or bootstrap.")] = "nonprod",
    cloud: Annotated[str, typer.Option(help="aws or gcp; empty: the only one.")] = "",
    allow: Annotated[str, typer.Option(help="Addresses that may be taken away.")] = "",
) -> None:
    """Show what would change, and refuse what would take work or data away."""
    root = Root.of(env, cloud)
    root.prepare()
    try:
        made = root.plan()
        made.guard(allow.split())
    finally:
        root.forget_plan()
    if made.empty:
        screen.what_next(f"{root.place} is as it says: nothing to apply.")
    else:
        screen.what_next(f"`make infra-apply ENV={env} CLOUD={root.cloud}` does it.")


if __name__ == "__main__":
    screen.start(plan)
