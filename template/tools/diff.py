"""`make diff`: what a deployment would change on an environment's cluster."""

from typing import Annotated

import typer

from tools import overlays, screen
from tools.project import project


def diff(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "dev",
) -> None:
    """Compare what is released, and how it is served, with what the cluster has."""
    # A name that is none is said before an overlay is looked for.
    project().environment(env)
    objects = overlays.manifests(env)
    cluster = overlays.Served.of(objects, env).cluster
    with screen.console.status("Asking the cluster"):
        # First something small: kubectl asks a cluster that does not answer again and again.
        cluster.ask("get", "--raw=/version")
        # As `make deploy` applies: a field that a patch no longer sets is seen to go.
        how = ("--server-side", f"--field-manager={project().name}")
        change = cluster.ask("diff", *how, "--filename=-", objects=objects, good=(0, 1))
    if not change:
        screen.what_next(
            f"Nothing to do: namespace {cluster.namespace} has what is released in {env}."
        )
        return
    screen.console.out(change, highlight=False)
    screen.what_next(f"`make deploy ENV={env}` makes it so.")


if __name__ == "__main__":
    screen.start(diff)
