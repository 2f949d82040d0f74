"""The pipelines of pipelines/ as KFP has them once they are imported."""

import importlib
from typing import Any

from runtime.errors import ProjectError
from tools import images
from tools.environment import Environment
from tools.imports import steps_of


def load(pipeline: str, environment: Environment) -> Any:
    """The KFP definition of a pipeline as the environment has it: images and executions."""
    named = {step: images.image(step, environment.registry) for step in steps_of(pipeline)}
    return environment.configured(defined(pipeline), named)


def defined(pipeline: str) -> Any:
    """The KFP definition of a pipeline as its file has it.

    Raises:
        ProjectError: it imports a step or a pipeline that is not there, or defines something else.
    """
    try:
        module = importlib.import_module(f"pipelines.{pipeline}")
    except ModuleNotFoundError as error:
        place = (error.name or "").split(".")
        if place[0] == "pipelines":
            raise ProjectError(
                f"pipelines/{pipeline}.py imports {error.name}, and that is not in pipelines/: "
                "import the pipeline by the name that it has now"
            ) from None
        if place[0] != "steps":
            raise
        step = place[1] if len(place) > 1 else "steps"
        raise ProjectError(
            f"pipelines/{pipeline}.py imports {error.name}, and that is not in steps/: "
            f"`make step NAME={step}` makes a step, or take it out of the pipeline"
        ) from None
    if not hasattr(module, pipeline):
        raise ProjectError(f"pipelines/{pipeline}.py must define the pipeline {pipeline}")
    return getattr(module, pipeline)
