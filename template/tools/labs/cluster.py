"""Lab 11: the same pipeline on a cluster."""

from collections.abc import Iterator

from tools.labs import past
from tools.labs.lab import Finding, Scope
from tools.project import project


def check(scope: Scope) -> Iterator[Finding]:
    """An environment that names a cluster, and a run there that was followed to its end."""
    clusters = [name for name in project().environments if project().environment(name).namespace]
    yield Finding(
        "an environment names a cluster",
        bool(clusters),
        "no file of config/environments has a namespace",
        ("docs/cluster.md says what the file of an environment needs.",),
    )
    runs = [run for name in clusters for run in past.runs(env=name, scope=scope)]
    yield Finding(
        "a run on it has succeeded",
        any(run.state == "succeeded" and run.runner == "cluster" for run in runs),
        "no run on a cluster was followed to a good end",
        (
            "The cluster's nodes have to find the images: `make images ENV=dev PUSH=1`.",
            "`make run RUNNER=cluster ENV=dev` starts one and follows it.",
        ),
    )
