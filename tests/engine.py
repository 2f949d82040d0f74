"""A real container engine, spoken to by its own command, and registries on loopback."""

import functools
import hashlib
import http.server
import json
import os
import shlex
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PROGRAMS = ("docker-registry", "registry")
TIMEOUT = 60
# What a build is given beside its own arguments, as by `make images`: a network, say.
BUILD_ARGS = os.environ.get("BUILD_ARGS", "")


def missing(sentence: str) -> None:
    """Skip a test that lacks a tool, or fail it where the environment says CI."""
    pytest.fail(sentence) if os.environ.get("CI") else pytest.skip(sentence)


@functools.cache
def problem() -> str:
    """Return what is wrong with the engine: nothing if it answers."""
    if not shutil.which("docker"):
        return "docker is not installed"
    done = subprocess.run(["docker", "version"], check=False, capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


def require() -> None:
    """Go on only where an engine answers."""
    if problem():
        missing(f"no container engine: {problem()}")


def docker(*arguments: str, given: str | None = None) -> str:
    """Run docker and return what it prints."""
    done = subprocess.run(
        ["docker", *arguments],
        check=False,
        capture_output=True,
        text=True,
        input=given,
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
    )
    assert done.returncode == 0, f"docker {shlex.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout


def build(dockerfile: str, tag: str = "") -> bool:
    """Build a Dockerfile that needs no other file, and return whether that worked."""
    options = ["--no-cache", *shlex.split(BUILD_ARGS), *(["--tag", tag] if tag else [])]
    done = subprocess.run(
        ["docker", "build", *options, "-"],
        input=dockerfile.encode(),
        check=False,
        capture_output=True,
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
    )
    return done.returncode == 0


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Start a registry that keeps its images in a folder, and give its address."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), "")
    if not program:
        missing("no registry is installed (Debian: apt install docker-registry)")
    address = f"127.0.0.1:{free_port()}"
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": address},
    }
    (folder / "registry.yml").write_text(json.dumps(settings), encoding="utf-8")
    running = subprocess.Popen(
        [program, "serve", str(folder / "registry.yml")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + TIMEOUT
        while True:
            with suppress(OSError):
                urllib.request.urlopen(f"http://{address}/v2/").close()
                break
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield address
    finally:
        running.terminate()
        running.wait()


def publish(address: str, repository: str, tag: str, note: str = "") -> str:
    """Give a registry an image without files, and return its digest."""
    kind = "application/vnd.oci.image.{}.v1+json"
    config = json.dumps({"architecture": "amd64", "os": "linux", "author": note}).encode()
    own = {"mediaType": kind.format("config"), "digest": sha256(config), "size": len(config)}
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": kind.format("manifest"), "config": own, "layers": []}
    ).encode()
    images = f"http://{address}/v2/{repository}"
    _, where = _send("POST", f"{images}/blobs/uploads/", b"", "")
    _send("PUT", f"{where}&digest={sha256(config)}", config, "application/octet-stream")
    _send("PUT", f"{images}/manifests/{tag}", manifest, kind.format("manifest"))
    return sha256(manifest)


def sha256(content: bytes) -> str:
    """Return the digest of a content, as registries write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _send(method: str, url: str, content: bytes, kind: str) -> tuple[int, str]:
    request = urllib.request.Request(  # noqa: S310
        url, content, {"Content-Type": kind}, method=method
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
        return answer.status, answer.headers.get("Location", "")


class Refusing(http.server.BaseHTTPRequestHandler):
    """A registry that lets nobody in, and gives nobody a token, as the big ones do."""

    # Its answer to a TLS handshake is then one that docker takes for plain HTTP.
    default_request_version = "HTTP/1.0"

    def do_GET(self) -> None:
        """Answer 401, and 403 to who asks for a token."""
        token = self.path.startswith("/token")
        code = "DENIED" if token else "UNAUTHORIZED"
        body = json.dumps({"errors": [{"code": code, "message": "no ducks here"}]}).encode()
        self.send_response(403 if token else 401)
        host = self.headers["Host"]
        self.send_header("WWW-Authenticate", f'Bearer realm="http://{host}/token",service="x"')
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answer HTTP on loopback, and give the address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Passage:
    """A way to the engine that can be cut, as when the engine stops."""

    def __init__(self) -> None:
        """Open it, from a port of loopback to the engine's own socket."""
        context = docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
        if not context.startswith("unix://"):
            pytest.skip(f"the engine is not on this machine: {context}")
        self._engine = context.removeprefix("unix://")
        self._ends: list[socket.socket] = []
        self._door = socket.create_server(("127.0.0.1", 0))
        self.host = f"tcp://127.0.0.1:{self._door.getsockname()[1]}"
        threading.Thread(target=self._open, daemon=True).start()

    def cut(self) -> None:
        """Close every connection, and take no other."""
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _open(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._door.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(self._engine)
                self._ends += [here, there]
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
