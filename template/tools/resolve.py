"""A pipeline that finds out by itself what `make run` finds out for it.

A run that starts by itself cannot ask this machine which data there are, or which model is
released: tasks in front of the pipeline do, never cached, in the images of steps that can.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from runtime.errors import ProjectError
from runtime.settings import Settings
from tools import images, preflight
from tools.environment import Environment


def data_version(settings: str) -> str:
    """The version of the data that a step with these settings would read now."""
    import json

    from runtime import sources

    values = json.loads(settings)
    return values["version"] or sources.fingerprint(values["source"], values["query"])


def champion(model_store: str) -> str:
    """The SHA-256 of the model that is released now; empty when none is."""
    from runtime.store import ModelStore

    return ModelStore(model_store).champion()


class Question(NamedTuple):
    """Something to find out when a pipeline runs."""

    answer: Callable[[str], str]
    parameter: str
    """Which of the pipeline's parameters the answer is found by."""
    step: str
    """In whose image, and with whose memory, nodes and secrets."""

    @property
    def module(self) -> str:
        """The file that the image must hold."""
        return "runtime/sources.py" if self.answer is data_version else "runtime/store.py"


def questions(names: Iterable[str], settings: Mapping[str, Settings]) -> dict[str, Question]:
    """How each of `data_version` and `champion` is found out, if one of these steps can."""
    found: dict[str, Question] = {}
    for step, values in settings.items():
        if {"source", "version"} <= values.model_dump().keys():
            found.setdefault("data_version", Question(data_version, f"{step}_settings", step))
        if preflight.takes_store(step):
            found.setdefault("champion", Question(champion, "model_store", step))
    return {name: found[name] for name in names if name in found}


def resolving(
    definition: Any,
    asked: Mapping[str, Question],
    known: Mapping[str, str],
    environment: Environment,
) -> Any:
    """The pipeline with a task in front for each question, by the name of what it answers.

    It takes of what is `known` what the pipeline asks for and the answers are found by.

    Raises:
        ProjectError: the image of a step cannot answer.
    """
    from kfp import dsl, kubernetes

    for question in asked.values():
        if question.module not in images.context(question.step):
            raise ProjectError(
                f"the image of {question.step} has no {question.module}, by which a scheduled run "
                f"looks things up: import it in steps/{question.step}/component.py"
            )

    inputs = definition.component_spec.inputs or {}
    names = sorted({*known} & {*inputs} - {*asked} | {each.parameter for each in asked.values()})

    def outer(*values: Any) -> None:
        given = dict(zip(names, values, strict=True))
        answers = {}
        for name, question in asked.items():
            component = dsl.component(
                question.answer,
                base_image=images.image(question.step, environment.registry),
                install_kfp_package=False,
            )
            (parameter,) = inspect.signature(question.answer).parameters
            task = component(**{parameter: given[question.parameter]})
            environment.execution(question.step).apply(task)
            task.set_caching_options(False)
            if environment.pull_secrets:
                kubernetes.set_image_pull_secrets(task, environment.pull_secrets)
            answers[name] = task.output
        definition(**{name: value for name, value in given.items() if name in inputs}, **answers)

    # What KFP reads the pipeline's parameters from; their names are known only now.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    taken = [inspect.Parameter(name, kind, annotation=str) for name in names]
    outer.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    return dsl.pipeline(name=definition.name, description=definition.description)(outer)
