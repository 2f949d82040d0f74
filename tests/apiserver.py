"""kubectl, and a server that says no."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NoReturn

import pytest
import yaml


def kubectl() -> str:
    """Return the path of kubectl, which the test needs."""
    program = shutil.which("kubectl")
    if program is None:
        missing("kubectl is not installed: https://kubernetes.io/docs/tasks/tools/")
    return program


def missing(sentence: str) -> NoReturn:
    """Skip the test, or fail it where the environment says CI."""
    if os.environ.get("CI"):
        pytest.fail(sentence)
    pytest.skip(sentence)


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


@contextmanager
def refusing() -> Iterator[str]:
    """Serve an API that forbids everything, and yield its URL."""

    class Forbid(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "reason": "Forbidden",
                "message": 'User "me" cannot do this',
                "code": 403,
            }
            self.send_response(403)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Forbid)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
