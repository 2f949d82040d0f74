"""What runs a pipeline on this machine: processes of it, or containers of the step images."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from runtime.errors import ProjectError
from runtime.settings import Settings
from tools.environment import Environment
from tools.project import ROOT


class Plan(NamedTuple):
    """What is known of a run before it starts."""

    environment: Environment
    settings: Mapping[str, Settings]
    """Of each step."""
    model_store: str
    """URI, or an absolute path."""

    @property
    def artifacts(self) -> Path:
        """The folder of what runs write."""
        return ROOT / self.environment.artifact_root

    @property
    def outputs(self) -> Path:
        """The folder of what steps write."""
        return self.artifacts / "outputs"


def chosen(name: str) -> Callable[[Plan], AbstractContextManager[Any]]:
    """What gives KFP's runner of this name for a plan, and clears up after it.

    Raises:
        ProjectError: there is none of this name.
    """
    if name not in RUNNERS:
        raise ProjectError(f"there is no runner {name!r}: RUNNER is one of {', '.join(RUNNERS)}")
    return RUNNERS[name]


@contextmanager
def processes(plan: Plan) -> Iterator[Any]:
    """Each step in a process of this project's own Python."""
    refuse_path(ROOT)
    from kfp import local

    yield local.SubprocessRunner(use_venv=False)


@contextmanager
def containers(plan: Plan) -> Iterator[Any]:
    """Each step in a container of its image."""
    from tools.containers import Containers

    with Containers(plan) as running:
        yield running.runner


RUNNERS = {"local": processes, "docker": containers}


def refuse_path(root: Path) -> None:
    """Refuse a folder in which KFP's local runner cannot work.

    It replaces the text "python3" wherever it stands in a step's command, paths included, and puts
    the path of Python into a shell command unquoted.
    """
    trouble = re.search(r"python3|[^\w@%+=:,./-]", str(root))
    if trouble:
        raise ProjectError(
            f"the project's path contains {trouble[0]!r}, which KFP's local runner cannot handle: "
            f"move {root} elsewhere"
        )
