"""`make infra-config`: bring what Terraform made into config/environments."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer
import yaml

from runtime.errors import ProjectError
from tools import screen
from tools.environment import Environment
from tools.project import ROOT, project
from tools.terraform import CLUSTERS, Root

FOLDER = "config/environments"
# Where steps run that ask for no other nodes.
POOL = "cpu"


def config(
    env: Annotated[str, typer.Option(help="nonprod or prod.")] = "nonprod",
    cloud: Annotated[str, typer.Option(help="aws or gcp; empty: the only one.")] = "",
) -> None:
    """Write context, registry, stores and the pool of steps into a cluster's environments."""
    root = Root.of(env, cloud)
    if env not in CLUSTERS:
        raise ProjectError(f"ENV={env} has no environments: choose nonprod or prod")
    before = {name: project().environment(name) for name in CLUSTERS[env]}
    root.prepare()
    outputs = root.outputs()
    if "cluster" not in outputs:
        raise ProjectError(
            f"{root.place} has nothing to tell: `make infra-apply ENV={env} CLOUD={root.cloud}` "
            "makes the cluster first"
        )
    pools = {name: pool_of(output) for name, output in outputs["node_pools"].items()}
    for name in CLUSTERS[env]:
        path = ROOT / FOLDER / f"{name}.yaml"
        old = path.read_text("utf-8")
        new = written(old, values(outputs, name), pools.get(POOL, {}))
        # What cannot be read is not written.
        Environment.parse(yaml.safe_load(new), where=f"{FOLDER}/{path.name}")
        path.write_text(new, encoding="utf-8")
        how = "changed" if new != old else "is as it was"
        screen.console.print(f"{FOLDER}/{path.name} {how}")
        warn_of_nobody(root, outputs, name, before[name])
    for name, pool in pools.items():
        keys = ", ".join(f"`{key}: {flow(value)}`" for key, value in pool.items())
        screen.console.print(f"a step gets to the pool {name} by {keys}", soft_wrap=True)
    screen.what_next(
        f"`{outputs['cluster']['kubeconfig']}` writes the context.",
        f"`{outputs['registry']['login']}` logs in to the registry.",
    )
    if root.cloud == "aws":
        there = f"kubectl --context {outputs['cluster']['context']}"
        cluster = [f"--from-literal={key}={outputs['cluster'][key]}" for key in ("name", "region")]
        screen.what_next(
            f"`{there} -n kube-system create configmap cluster {' '.join(cluster)}`, then "
            f"`{there} apply -k platform/eks`: disks, GPUs, and nodes that come and go."
        )


def values(outputs: Mapping[str, Any], env: str) -> dict[str, str]:
    """What an environment's file says, by its keys: two environments share a cluster's buckets."""
    return {
        "context": outputs["cluster"]["context"],
        "registry": outputs["registry"]["prefix"],
        "artifact_root": f"{outputs['artifact_store']['uri']}/{env}",
        "model_store": f"{outputs['model_store']['uri']}/{env}/models",
    }


def pool_of(output: Mapping[str, Any]) -> dict[str, Any]:
    """How a step gets to a pool, by the keys of an environment's file."""
    given = {"node_selector": output["selector"], "tolerations": output["tolerations"]}
    return {key: value for key, value in given.items() if value}


def warn_of_nobody(
    root: Root, outputs: Mapping[str, Any], name: str, environment: Environment
) -> None:
    """Say so where the steps' service account is nobody at the cloud."""
    known = outputs["workload_identities"].values()
    if not any(
        environment.namespace == each["namespace"]
        and environment.service_account in each["service_accounts"]
        for each in known
    ):
        who = f"{environment.namespace}/{environment.service_account}"
        screen.warn(
            f"{FOLDER}/{name}.yaml: the service account {who} reaches no bucket: name it in "
            f"`workload_identities` of {root.place}/main.tf"
        )


def written(text: str, values: Mapping[str, str], pool: Mapping[str, Any]) -> str:
    """The text of an environment's file with these values, and all else as it stands.

    What `every_step` says of nodes already is the team's, and stays.

    Raises:
        ProjectError: it cannot be edited by lines.
    """
    text = text if text.endswith("\n") else f"{text}\n"
    document = yaml.compose(text)
    if document.flow_style:
        raise ProjectError(f"{FOLDER} is not a key to a line, and stays as it is: write it so")
    nodes = {key.value: value for key, value in document.value}
    edits = [edit(nodes.get(key), key, json.dumps(value), text) for key, value in values.items()]
    steps = nodes.get("every_step")
    if steps is None:
        lines = "".join(f"  {key}: {flow(value)}\n" for key, value in pool.items())
        edits.append((len(text), len(text), f"every_step:\n{lines}" if lines else ""))
    elif isinstance(steps, yaml.MappingNode) and not steps.flow_style:
        start = steps.start_mark
        if not {"node_selector", "tolerations"} & {key.value for key, _ in steps.value}:
            indent = " " * start.column
            lines = "".join(f"{key}: {flow(value)}\n{indent}" for key, value in pool.items())
            edits.append((start.index, start.index, lines))
    for start, end, new in sorted(edits, reverse=True, key=lambda each: each[:2]):
        text = text[:start] + new + text[end:]
    return text


def edit(node: yaml.Node | None, key: str, value: str, text: str) -> tuple[int, int, str]:
    """From where to where a value stands, and what takes its place."""
    if node is None:
        return len(text), len(text), f"{key}: {value}\n"
    start, end = node.start_mark.index, node.end_mark.index
    if start == end:
        return start, end, f" {value}"
    return start, end, value + ("\n" if text[start:end].endswith("\n") else "")


def flow(value: Any) -> str:
    """A value on one line, as YAML."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False).strip()


if __name__ == "__main__":
    screen.start(config)
