"""An environment: a place to run, described by one file of config/environments/."""

import functools
import inspect
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from runtime.errors import ProjectError
from runtime.settings import Settings
from tools import cron
from tools.execution import Execution


def _url(value: str) -> str:
    if value and not re.match(r"https?://[^/]", value):
        raise ValueError("write it from https:// on")
    return value


class Schedule(Settings):
    """When a pipeline runs by itself."""

    cron: Annotated[str, AfterValidator(cron.check)]
    """Minute, hour, day of the month, month, day of the week; in UTC."""
    enabled: bool = True
    """Whether it runs; a schedule that is switched off stays on the cluster, paused."""
    catch_up: bool = False
    """Whether runs that were missed while it was paused are made up for."""


class Environment(Settings):
    """A target to run on. What an older project's file does not have stays as it is here."""

    artifact_root: str
    """Folder or URI of what runs write; empty on a cluster: where KFP keeps what it writes."""
    model_store: str
    """Folder or URI of registered models."""
    registry: str = ""
    """Prefix of image names, such as `ghcr.io/my-team`; empty: the engine of this machine."""
    context: str = ""
    """The cluster, as a context of the kubeconfig; empty: its current one."""
    namespace: str = ""
    """Where runs happen on the cluster; empty: this environment has no cluster."""
    url: Annotated[str, AfterValidator(_url)] = ""
    """Of KFP's API; empty: it is reached through the cluster's API server."""
    service_account: str = ""
    """What the steps' pods may do on the cluster; empty: what KFP gives every run."""
    pull_secrets: list[str] = Field(default_factory=list)
    """Kubernetes Secrets by which the nodes pull images."""
    every_step: Execution = Execution()
    """What every step is given, where its own section does not say otherwise."""
    steps: dict[str, Execution] = Field(default_factory=dict)
    """What single steps are given; a key here takes the place of the one in `every_step`."""
    schedules: dict[str, Schedule] = Field(default_factory=dict)
    """When pipelines run by themselves."""

    release_retrained: bool = False
    """Whether what was trained again after an alarm is released here; for local and dev alone."""

    def execution(self, step: str) -> Execution:
        """How a step is executed here."""
        return self.steps.get(step, Execution()).over(self.every_step)

    def require_folder(self, name: str) -> None:
        """Refuse to run on this machine where nothing says in which folder of it."""
        if not self.artifact_root or "://" in self.artifact_root:
            raise ProjectError(
                f"the environment {name!r} keeps what runs write on its cluster, not in a folder "
                "of this machine: run there by RUNNER=cluster, or choose ENV=local"
            )

    def configured(self, definition: Any, images: Mapping[str, str]) -> Any:
        """A pipeline as it runs here: each task with its image and its execution.

        The pipeline's function is traced once more, as a task can be set only while it is: so the
        pipelines' own code says nothing of registries, memory or nodes.
        """
        here = [self.execution(step) for step in images]
        if not self.registry and not self.pull_secrets and all(e == Execution() for e in here):
            return definition
        from kfp import dsl, kubernetes
        from kfp.dsl.graph_component import GraphComponent
        from kfp.dsl.pipeline_context import Pipeline

        names = inspect.unwrap(definition.pipeline_func).__globals__
        within = {
            name: self.configured(each, images)
            for name, each in names.items()
            if isinstance(each, GraphComponent) and each is not definition
        }

        @functools.wraps(definition.pipeline_func)
        def traced(*arguments: Any, **keywords: Any) -> Any:
            # A pipeline that runs within this one is called by its name there.
            before = {name: names[name] for name in within}
            names.update(within)
            try:
                outputs = definition.pipeline_func(*arguments, **keywords)
            finally:
                names.update(before)
            for task in Pipeline.get_default_pipeline().tasks.values():
                step = task.component_spec.name.replace("-", "_")
                if step in images:
                    self.execution(step).apply(task.set_container_image(images[step]))
                inner = task.component_spec.implementation.graph
                if self.pull_secrets and not inner:
                    kubernetes.set_image_pull_secrets(task, self.pull_secrets)
            return outputs

        # The root is an attribute of the function, and so comes with it.
        return dsl.pipeline(
            name=definition.name,
            description=definition.description,
            display_name=definition.pipeline_spec.pipeline_info.display_name or None,
            pipeline_config=definition.pipeline_config,
        )(traced)

    def require_cluster(self, name: str) -> None:
        """Refuse to go on where there is no cluster to go to."""
        if not self.namespace:
            raise ProjectError(
                f"the environment {name!r} has no cluster: choose another by ENV=, or give "
                f"`namespace` in config/environments/{name}.yaml"
            )
