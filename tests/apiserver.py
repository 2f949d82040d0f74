"""kubectl and Kubernetes' API, and stand-ins for what a machine without a cluster has not."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

NAMESPACE = "default"
Object = dict[str, Any]


def missing(sentence: str) -> NoReturn:
    """Skip the test, or fail it where the environment says CI."""
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)


def kubectl() -> str:
    """Return the path of kubectl, which the test needs."""
    program = shutil.which("kubectl")
    if program is None:
        missing("kubectl is not installed: https://kubernetes.io/docs/tasks/tools/")
    return program


def kustomized(folder: Path) -> list[Object]:
    """Build a kustomization, and return its objects."""
    command = [kubectl(), "kustomize", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def ask(*arguments: str, content: Object | None = None) -> subprocess.CompletedProcess[str]:
    """Have kubectl ask the API server of KUBECONFIG, with an object as its input."""
    return subprocess.run(
        [kubectl(), f"--namespace={NAMESPACE}", *arguments],
        input=json.dumps(content) if content else None,
        check=False,
        capture_output=True,
        text=True,
    )


def require(kind: str) -> None:
    """Require an API server that serves a kind of Kubeflow's."""
    found = os.environ.get("KUBECONFIG") and ask("get", kind, "--request-timeout=10s")
    if not found or found.returncode != 0:
        missing(f"KUBECONFIG names no API server with the kind {kind}")


def kubeconfig(path: Path, url: str) -> Path:
    """Write a kubeconfig whose one context, `there`, is a server without login."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "there",
        "clusters": [{"name": "there", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "there", "context": {"cluster": "there", "user": "me"}}],
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@dataclass
class Cluster:
    """The API of a cluster: custom resources on a real server, pods and Secrets made up here.

    The real server validates and stores, but runs nothing and serves no kind of Kubernetes' own.
    """

    real: str = ""
    """URL of the real server, for what is not made up."""
    url: str = ""
    pods: dict[str, Object] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    secrets: dict[str, Object] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Status and message by what "METHOD path" matches."""

    def answer(self, method: str, url: str, body: bytes) -> tuple[int, bytes]:
        """Answer a request with status and content."""
        path, query = urlsplit(url).path, parse_qs(urlsplit(url).query)
        for pattern, (status, message) in self.refusals.items():
            if re.search(pattern, f"{method} {path}"):
                return status, json.dumps({"kind": "Status", "message": message}).encode()
        kind, _, rest = path.removeprefix(f"/api/v1/namespaces/{NAMESPACE}/").partition("/")
        name, _, part = rest.partition("/")
        if kind == "secrets" and name in self.secrets:
            return 200, json.dumps(self.secrets[name]).encode()
        if kind == "pods" and not name:
            wanted = dict(each.split("=") for each in query["labelSelector"][0].split(","))
            found = [
                pod
                for pod in self.pods.values()
                if wanted.items() <= pod["metadata"].get("labels", {}).items()
            ]
            return 200, json.dumps({"items": found}).encode()
        if kind == "pods" and name in self.pods:
            if part == "log":
                return 200, "".join(f"{line}\n" for line in self.logs.get(name, [])).encode()
            return 200, json.dumps(self.pods[name]).encode()
        if self.real and path.startswith("/apis/"):
            return self._forward(method, url, body)
        return 404, json.dumps({"kind": "Status", "message": f"there is no {path}"}).encode()

    def _forward(self, method: str, url: str, body: bytes) -> tuple[int, bytes]:
        request = urllib.request.Request(  # noqa: S310
            self.real + url, body or None, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@contextmanager
def served(cluster: Cluster) -> Iterator[Cluster]:
    """Serve a cluster's API on loopback, and set its URL."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = cluster.answer(self.command, self.path, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    cluster.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def proxy() -> Iterator[str]:
    """Serve the API server of KUBECONFIG on loopback, without login, and yield its URL."""
    running = subprocess.Popen([kubectl(), "proxy", "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout
        said = running.stdout.readline()
        yield f"http://{said.split()[-1]}"
    finally:
        running.terminate()
        running.wait()


def wait_for(what: str, condition: Any, seconds: float = 60) -> Any:
    """Wait until something is there, and return it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"no {what}"
        time.sleep(0.1)
    return found
