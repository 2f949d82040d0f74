"""What runs a pipeline on this machine: processes of it, or containers of the step images."""

import re
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

from runtime.errors import ProjectError
from runtime.settings import Settings
from tools.environment import Environment
from tools.project import ROOT, project

CLUSTER = "cluster"
STOPS = (signal.SIGINT, signal.SIGTERM)


class Plan:
    """What is known of a run on this machine before it starts."""

    def __init__(
        self, runner: str, environment: Environment, images: Mapping[str, str], model_store: str
    ) -> None:
        self.name = runner
        self.environment = environment
        self.images = images
        """Of each step."""
        self.model_store = model_store
        """URI, or an absolute path."""
        self.artifacts = ROOT / environment.artifact_root
        self.outputs = self.artifacts / "outputs"
        # The cache's key does not know the runner, so each runner has a cache of its own.
        self.cache = self.artifacts / "cache" / runner

    @cached_property
    def settings(self) -> dict[str, Settings]:
        """Of each step."""
        return {step: project().settings(step) for step in self.images}

    def runner(self) -> AbstractContextManager[Any]:
        """KFP's runner, once all that it needs is there; what it leaves behind is removed."""
        return RUNNERS[self.name](self)


def require(runner: str) -> None:
    """Refuse a runner that there is not, here or on a cluster.

    Raises:
        ProjectError: it names those there are.
    """
    known = [*RUNNERS, CLUSTER]
    if runner not in known:
        raise ProjectError(f"there is no runner {runner!r}: RUNNER is one of {', '.join(known)}")


@contextmanager
def in_processes(plan: Plan) -> Iterator[Any]:
    """Each step in a process of this project's own Python."""
    refuse_path(ROOT)
    from kfp import local

    yield local.SubprocessRunner(use_venv=False)


def in_containers(plan: Plan) -> AbstractContextManager[Any]:
    """Each step in a container of its image."""
    from tools.containers import containers

    return containers(plan)


RUNNERS = {"local": in_processes, "docker": in_containers}


@contextmanager
def on_stop(do: Callable[[], None]) -> Iterator[None]:
    """At Ctrl-C, or when it is told to end, do something before the interruption is raised."""

    def stop(number: int, frame: FrameType | None) -> None:
        do()
        before = handlers[signal.Signals(number)]
        if callable(before):
            before(number, frame)
        raise KeyboardInterrupt

    heeded = [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]
    handlers = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


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
