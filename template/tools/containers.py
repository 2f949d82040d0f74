"""`make run RUNNER=docker`: each step in a container of its image, by KFP's own DockerRunner."""

import codecs
import json
import os
import secrets
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from kfp import local
from kfp.local import docker_task_handler
from urllib3.exceptions import HTTPError

from runtime.errors import ProjectError
from tools import screen
from tools.conclusion import NOT_ITS_OWN
from tools.confinement import Given, confined, described, given
from tools.project import project
from tools.runners import Plan, on_stop

FAILED, KILLED = 1, 128 + signal.SIGKILL
# What docker raises, and what it lets through when the engine goes away.
ENGINE_ERRORS = (DockerException, HTTPError, OSError)


@contextmanager
def containers(plan: Plan) -> Iterator[local.DockerRunner]:
    """KFP's runner; when the run ends, however it ends, no container of it is left.

    Raises:
        ProjectError: no engine answers, an image is missing, or a secret is not set.
    """
    images = {image: given(step, plan) for step, image in plan.images.items()}
    client = connect()
    require_images(client, images)
    running = Containers(client, images)
    # One that is not there, the engine would make as root.
    plan.outputs.mkdir(parents=True, exist_ok=True)
    screen.console.print(described(plan), style="dim")
    kfps_own = docker_task_handler.run_docker_container
    docker_task_handler.run_docker_container = running.run
    try:
        with on_stop(running.stop):
            yield local.DockerRunner(labels=running.labels, **confined(client.info()))
    finally:
        docker_task_handler.run_docker_container = kfps_own
        running.remove()


class Containers:
    """The containers of one run, known by a label; `images` says what is given to those of each."""

    def __init__(self, client: docker.DockerClient, images: Mapping[str, Given]) -> None:
        self.labels = {f"{project().name}.run": secrets.token_hex(8)}
        self._client = client
        self._images = images
        self._stopped = False

    def run(
        self,
        client: docker.DockerClient,
        image: str,
        command: Sequence[str],
        volumes: dict[str, Any],
        **options: Any,
    ) -> int:
        """Run a step's container to its end, and return its exit code.

        In the place of kfp's own, which takes a container that has failed fast for one that has
        succeeded (kubeflow/pipelines#13332), and pulls an image that is not there.
        """
        own = self._images.get(image, Given({}, {}))
        options["environment"] = {**options.get("environment", {}), **own.environment}
        options.update(own.options)
        try:
            container = client.containers.create(image, command, volumes=volumes, **options)
            try:
                container.start()
                if self._stopped:
                    container.kill()
                show(container)
                code: int = container.wait()["StatusCode"]
                container.reload()
                trouble = reason(container.attrs["State"], command)
            finally:
                remove(container)
        except ENGINE_ERRORS as error:
            code, trouble = FAILED, engine_trouble(error)
        if trouble and not self._stopped:
            print(f"\n{NOT_ITS_OWN}{trouble}")
        return code or (FAILED if trouble else 0)

    def stop(self) -> None:
        """Kill those that run; kfp waits for the steps of a loop before it gives up."""
        self._stopped = True
        with suppress(*ENGINE_ERRORS):
            for container in self._all():
                with suppress(DockerException):
                    container.kill()

    def remove(self) -> None:
        """Remove all that are left."""
        with suppress(*ENGINE_ERRORS):
            for container in self._all():
                remove(container)

    def _all(self) -> list[Container]:
        labels = [f"{name}={value}" for name, value in self.labels.items()]
        found: list[Container] = self._client.containers.list(all=True, filters={"label": labels})
        return found


def connect() -> docker.DockerClient:
    """The engine that DOCKER_HOST names, or the current context of the docker command.

    Raises:
        ProjectError: it does not answer.
    """
    try:
        client = docker.from_env()
        client.ping()
    except ENGINE_ERRORS as error:
        named = os.environ.get("DOCKER_HOST")
        raise ProjectError(
            f"no container engine answers{f' at DOCKER_HOST={named}' if named else ''}"
            f"{because(error)}: start Docker, or set DOCKER_HOST to where yours listens, "
            "Podman's socket say; without RUNNER=docker none is needed"
        ) from None
    return client


def require_images(client: docker.DockerClient, references: Iterable[str]) -> None:
    """Refuse to start when an image is missing: nothing is pulled here.

    Raises:
        ProjectError: it names all that are missing.
    """
    missing = []
    for reference in references:
        try:
            client.images.get(reference)
        except ImageNotFound:
            missing.append(reference)
    if missing:
        what = "image is" if len(missing) == 1 else "images are"
        raise ProjectError(
            f"{len(missing)} {what} not built: `make images` builds what is missing\n  "
            + "\n  ".join(missing)
        )


def show(container: Container) -> None:
    """Print what a container prints, until it ends."""
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    for piece in container.logs(stream=True, follow=True):
        print(decode(piece), end="", flush=True)


def reason(state: dict[str, Any], command: Sequence[str]) -> str:
    """Why a container that has ended failed, where its own words do not say it."""
    if state.get("OOMKilled"):
        return "its container ran out of memory: `memory` in config/environments/ is the limit"
    if state["ExitCode"] == KILLED:
        return "its container was killed from outside, or the machine ran out of memory"
    if state["ExitCode"] == 0 and not written(command).exists():
        return (
            f"it left nothing at {written(command)}: the engine has to run on this machine, and "
            "to share this folder with it"
        )
    return ""


def written(command: Sequence[str]) -> Path:
    """The file that KFP's executor writes when a step has succeeded."""
    executor_input = json.loads(command[command.index("--executor_input") + 1])
    return Path(executor_input["outputs"]["outputFile"])


def engine_trouble(error: Exception) -> str:
    """What to say of an engine that did not do as it was told."""
    if isinstance(error, ImageNotFound):
        return f"{error.explanation}: `make images` builds it"
    if isinstance(error, NotFound):
        return "its container was removed from outside"
    if isinstance(error, APIError):
        return f"the container engine says: {error.explanation}"
    return f"the container engine does not answer any more{because(error)}"


def because(error: BaseException) -> str:
    """What an error began with, in brackets; empty where it is only that nobody listens."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return ""
    return f" ({' '.join(str(error).split())})"


def remove(container: Container) -> None:
    """Remove a container, whatever it does."""
    with suppress(*ENGINE_ERRORS):
        container.remove(force=True)
