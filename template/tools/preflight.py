"""What can be said of a run on a cluster before the cluster is asked."""

import importlib
import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from runtime import sources
from runtime.errors import ProjectError
from tools import images
from tools.environment import Environment
from tools.project import project

DRIVERS = {"s3": "s3fs", "gcs": "gcsfs"}
"""What an extra of runtime brings, by which the files of a store are read."""
PLACES = ("source", "labels", "output")
"""Settings of a step that say where data are."""


def check(steps: Iterable[str], environment: Environment, where: str) -> set[str]:
    """Refuse what cannot work, and return what only the cluster can find out.

    That is `champion`, when the model store is a volume there, and `data_version`, when the data
    are on one.

    Raises:
        ProjectError: a place is on this machine alone, a driver or a variable is missing.
    """
    unknown = set()
    places = []
    for step in steps:
        settings = project().settings(step).model_dump()
        for key in PLACES:
            place = str(settings.get(key, ""))
            _require_variables(step, key, place, environment, where)
            place = sources.filled(place, environment.execution(step).env)
            if path := _path(place):
                _require_volume(step, f"{step}.{key}", path, environment, where)
                if key == "source" and "version" in settings:
                    unknown.add("data_version")
            places.append((step, f"{step}.{key}", place))
        if takes_store(step):
            if "://" not in environment.model_store:
                _require_volume(step, "model_store", environment.model_store, environment, where)
                unknown.add("champion")
            places.append((step, "model_store", environment.model_store))
    require_drivers(places)
    return unknown


def takes_store(step: str) -> bool:
    """Whether a step reads or writes the model store."""
    component = getattr(importlib.import_module(f"steps.{step}.component"), step)
    return "model_store" in (component.component_spec.inputs or {})


def _path(place: str) -> str:
    """The path of a file or folder that has no URI; empty when it is something else."""
    if "://" in place or place.startswith(sources.SKLEARN):
        return ""
    return place.removeprefix(sources.DUCKDB).removeprefix(sources.PAYLOADS)


def _require_volume(step: str, what: str, path: str, environment: Environment, where: str) -> None:
    claims = [volume for volume in environment.execution(step).volumes if volume.claim]
    if not any(PurePosixPath(path).is_relative_to(volume.mount) for volume in claims):
        raise ProjectError(
            f"{what} is {path!r}, which the step {step} cannot see on a cluster: give a URI such "
            f"as s3://… or gs://…, or mount a volume there by `steps.{step}.volumes` in {where}"
        )


def _require_variables(
    step: str, key: str, place: str, environment: Environment, where: str
) -> None:
    execution = environment.execution(step)
    given = {*execution.env, *(name for secret in execution.secrets for name in secret.env)}
    for name, otherwise in sources.VARIABLE.findall(place):
        if name not in given and not otherwise:
            raise ProjectError(
                f"{step}.{key} needs the variable {name}, which the step does not have on a "
                f"cluster: give it by `steps.{step}.secrets` in {where}"
            )


def require_drivers(places: list[tuple[str, str, str]]) -> None:
    """Refuse places, each of a step and a setting, that the step's image has no package to read.

    Raises:
        ProjectError: a driver is missing; it says which line to add to which file.
    """
    lacking: dict[str, list[str]] = {}
    for step, what, place in places:
        extra = sources.EXTRAS.get(place.removeprefix(sources.PAYLOADS).partition("://")[0])
        if extra and not _requires(step, DRIVERS[extra]):
            lacking.setdefault(f'"runtime[{extra}]"', []).append(f"steps/{step}/pyproject.toml")
            said = f"{what} is {place!r}"
    for line, files in lacking.items():
        raise ProjectError(
            f"{said}, and what reads it is not in the image: add {line} to the dependencies in "
            f"{' and '.join(dict.fromkeys(files))}, then `make setup`"
        )


def _requires(step: str, package: str) -> bool:
    return re.search(rf"^{package}==".encode(), images.requirements(step), re.MULTILINE) is not None
