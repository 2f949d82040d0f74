"""`make infra-config`: bring what Terraform made into config/environments."""

import re
from typing import Annotated, Any

import typer

from runtime.errors import ProjectError
from tools import screen
from tools.project import ROOT, project
from tools.terraform import BOOTSTRAP, CLUSTERS, Root


def config(
    env: Annotated[str, typer.Option(help="nonprod or prod.")] = "nonprod",
    cloud: Annotated[str, typer.Option(help="aws or gcp; empty: the only one.")] = "",
) -> None:
    """Write context, registry and stores into the environments of a cluster."""
    if env == BOOTSTRAP:
        raise ProjectError("ENV=bootstrap has no environments: choose nonprod or prod")
    root = Root.of(env, cloud)
    root.prepare()
    outputs = root.outputs()
    if not outputs:
        raise ProjectError(
            f"{root.place} has nothing to tell: `make infra-apply ENV={env} CLOUD={root.cloud}`"
        )
    for name in CLUSTERS[env]:
        path = ROOT / "config/environments" / f"{name}.yaml"
        before = path.read_text("utf-8")
        after = written(before, values(outputs, name))
        path.write_text(after, encoding="utf-8")
        # Read again, so that what was written is known to be right.
        project().environment(name)
        how = "changed" if after != before else "is as it was"
        screen.console.print(f"config/environments/{name}.yaml {how}")
    pool = outputs["node_pools"].get("cpu")
    screen.what_next(
        f"`{outputs['cluster']['kubeconfig']}` writes the context.",
        f"Log in to the registry: `{outputs['registry']['login']}`.",
    )
    if pool:
        screen.what_next(
            f"Steps get to the pool cpu by node_selector {pool['selector']} "
            f"and tolerations {pool['tolerations']}."
        )


def values(outputs: dict[str, Any], env: str) -> dict[str, str]:
    """What an environment's file says, by its keys: two environments share a cluster's buckets."""
    return {
        "context": outputs["cluster"]["context"],
        "registry": outputs["registry"]["prefix"],
        "artifact_root": f"{outputs['artifact_store']['uri']}/{env}",
        "model_store": f"{outputs['model_store']['uri']}/{env}/models",
    }


def written(text: str, values: dict[str, str]) -> str:
    """A file's text with these keys of its top level; its comments and all else stay."""
    for key, value in values.items():
        line = f'{key}: "{value}"'
        text, count = re.subn(rf"^{key}:.*$", lambda _, line=line: line, text, flags=re.MULTILINE)
        if not count:
            text = f"{text.rstrip()}\n{line}\n"
    return text


if __name__ == "__main__":
    screen.start(config)
