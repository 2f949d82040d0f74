"""`make smoke`: ask an environment's server, and compare with what its model is known to answer."""

import json
import math
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from runtime import served
from runtime.errors import ProjectError
from tools import overlays, predict, registry, released, screen
from tools.access import Cluster
from tools.predict import Row
from tools.project import project
from tools.release import answers

SECONDS = 5
"""How long another model may answer: during a rollout, or beside a canary, there are two."""
TOLERANCE = 1e-5
"""By how much of itself a number may differ: a node's processor is not that of this machine."""
PORT = 8080
CONNECT_SECONDS = 5
FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ")


def smoke(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    url: Annotated[str, typer.Option(help="Where the server is; empty: the cluster says.")] = "",
) -> None:
    """Ask for the sample that is kept with the released model."""
    environment = project().environment(env)
    if not environment.namespace:
        model, image = registry.released(env).model_id, ""
        check(url or predict.URL, env, model, image)
        return
    release = released.require(env)
    service = overlays.Served.of(overlays.manifests(env), env)
    with endpoint(service.cluster, url) as found:
        check(found, env, release.model, release.image)


def status_of(cluster: Cluster) -> dict[str, Any]:
    """What KServe says of the environment's InferenceService."""
    get = ("get", "inferenceservice", project().name, f"--namespace={cluster.namespace}")
    said = cluster.ask(*get, "--output=json", "--ignore-not-found")
    if not said.strip():
        raise ProjectError(
            f"nothing is deployed in {cluster.env} yet: `make deploy ENV={cluster.env}`"
        )
    status: dict[str, Any] = json.loads(said).get("status", {})
    return status


@contextmanager
def endpoint(cluster: Cluster, given: str = "") -> Iterator[str]:
    """Where the server is asked: by its own URL or, where that is for others, past it to a pod."""
    url = given or status_of(cluster).get("url", "")
    if given or (url and listens(url)):
        yield url
        return
    why = f"{url} is out of this machine's reach" if url else "the server has no URL"
    screen.notice(f"{why}: its newest pod is asked, through the cluster")
    with forwarded(cluster) as local:
        yield local


def listens(url: str) -> bool:
    """Whether anything does, where a URL points to."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


@contextmanager
def forwarded(cluster: Cluster) -> Iterator[str]:
    """A port of this machine that leads to the newest pod of the server."""
    selector = f"--selector=serving.kserve.io/inferenceservice={project().name}"
    phase = "--field-selector=status.phase=Running"
    newest_last = "--sort-by=.metadata.creationTimestamp"
    namespace = f"--namespace={cluster.namespace}"
    pods = cluster.ask("get", "pods", namespace, selector, phase, newest_last, "--output=name")
    if not pods.strip():
        raise ProjectError(
            f"no pod of the server runs in namespace {cluster.namespace!r}: `kubectl describe "
            f"inferenceservice {project().name} {namespace}` says more"
        )
    context = [f"--context={cluster.context}"] if cluster.context else []
    command = ["kubectl", *context, namespace, "port-forward", pods.split()[-1], f":{PORT}"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said = running.stdout.readline() if running.stdout else ""
        found = FORWARDING.match(said)
        if not found:
            running.terminate()
            reason = running.communicate()[1].strip() or said.strip()
            raise ProjectError(
                f"the server cannot be reached through the cluster ({reason}): give URL= of where "
                "this machine reaches it"
            )
        yield f"http://127.0.0.1:{found[1]}"
    finally:
        running.terminate()
        running.communicate()


def check(url: str, env: str, model: str, image: str, seconds: float = SECONDS) -> None:
    """Hold a server to the released model and its answers.

    Raises:
        ProjectError: it does not answer, serves another model, or answers otherwise.
    """
    url = predict.checked(url)
    rows, expected = known(env, model, image)
    with screen.console.status(f"Asking {url}"):
        answer = asked(url, rows, model, seconds)
    wrong = difference(expected, answer["predictions"])
    if wrong:
        raise ProjectError(
            f"{url} serves model {model}, and does not answer as it should: {wrong}. Is the image "
            "of the server another one than the released?"
        )
    screen.what_next(
        f"{url} serves model {model}, released in {env}, and answers its {len(rows)} sample rows "
        "as it should."
    )


def known(env: str, model: str, image: str) -> tuple[list[Row], list[Row]]:
    """The sample of a model, and what it should be answered."""
    uri, store = project().environment(env).model_store, registry.store(env)
    with registry.asking(uri):
        rows = store.sample(model)
        expected = store.answers(model, image) if image else []
    if not rows:
        raise ProjectError(
            f"model {model} was registered without a sample to ask with: add "
            '"sample" to the summary in steps/evaluate/component.py, as '
            "runtime.datasets.sample gives it, and `make run`"
        )
    if expected:
        return rows, expected
    if image:
        screen.notice("no answers are kept with the model: this checkout's are expected")
    with tempfile.TemporaryDirectory() as folder:
        with registry.asking(uri):
            found = served.fetched(store, model, Path(folder))
        return rows, answers(found)


def asked(url: str, rows: list[Row], model: str, seconds: float) -> Row:
    """What the released model answers; another one may, for some seconds.

    Raises:
        ProjectError: it does not.
    """
    path = f"{url}/v1/models/{project().name}:predict"
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = predict.call(path, {"instances": rows})
            if answer.get("model_version") == model:
                return answer
            problem = f"{url} serves model {answer.get('model_version')}, and {model} is released"
        except ConnectionError:
            problem = f"nothing answers at {url}"
        except ProjectError as error:
            forbidden = str(HTTPStatus.FORBIDDEN.value) in str(error)
            more = ": whoever asks has to be let in, by a mesh's policy say" if forbidden else ""
            problem = f"{url} does not answer: {error}{more}"
        if time.monotonic() > deadline:
            raise ProjectError(problem)
        time.sleep(0.1)


def difference(expected: list[Row], got: list[Row]) -> str:
    """The first answer that is another one; empty when all are equal."""
    if len(expected) != len(got):
        return f"it gives {len(got)} answers to {len(expected)} rows"
    for number, (wanted, given) in enumerate(zip(expected, got, strict=True)):
        for name in {**wanted, **given}:
            if not equal(wanted.get(name), given.get(name)):
                return (
                    f"row {number}, {name!r}: {given.get(name)!r} instead of {wanted.get(name)!r}"
                )
    return ""


def equal(wanted: Any, given: Any) -> bool:
    """Whether two values are the same, numbers but for their last digits."""
    if isinstance(wanted, float) and isinstance(given, int | float):
        return math.isclose(wanted, given, rel_tol=TOLERANCE, abs_tol=TOLERANCE**2)
    return bool(wanted == given)


if __name__ == "__main__":
    screen.start(smoke)
