"""uv from the package index, with the Python of any machine."""

import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import ROOT

SCRIPT = ROOT / "template/tools/get_uv.py"
# Below uv's environments, which have no pip.
PYTHON = Path(sys.base_prefix) / "bin/python3"


def get_uv(folder: Path, *lacking: str, **environment: str) -> tuple[int, str, Path]:
    """Run the script with a Python that lacks some modules."""
    (folder / "lacking").mkdir()
    for module in lacking:
        (folder / "lacking" / f"{module}.py").write_text("raise ImportError\n")
    done = subprocess.run(
        [PYTHON, SCRIPT, ".uv"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "lacking"), **environment},
        check=False,
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    return done.returncode, said, folder / ".uv/bin/uv"


def version(uv: Path) -> str:
    """Ask uv for its version."""
    return subprocess.run([uv, "--version"], check=True, capture_output=True, text=True).stdout


@pytest.mark.project
@pytest.mark.parametrize("lacking", [[], ["venv"]], ids=["venv", "pip"])
def test_from_the_package_index(lacking: list[str], tmp_path: Path) -> None:
    """With venv, else with pip alone."""
    code, said, uv = get_uv(tmp_path, *lacking)
    assert code == 0, said
    assert version(uv).startswith("uv ")


class Index(ThreadingHTTPServer):
    """A package index on this machine."""

    pages: dict[str, bytes]

    def add(self, release: str, kind: str = "manylinux_2_17", *, yanked: bool = False) -> None:
        """Add a wheel of uv, which says its version and no more."""
        name = f"uv-{release}-py3-none-{kind}_{platform.machine()}.whl"
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as wheel:
            wheel.writestr(f"uv-{release}.data/scripts/uv", f"#!/bin/sh\necho uv {release}\n")
        self.pages[f"/files/{name}"] = content.getvalue()
        page = json.loads(self.pages.get("/simple/uv/", b'{"files": []}'))
        page["files"].append(
            {
                "filename": name,
                "url": f"http://127.0.0.1:{self.server_port}/files/{name}",
                "hashes": {"sha256": hashlib.sha256(content.getvalue()).hexdigest()},
                "yanked": yanked,
            }
        )
        self.pages["/simple/uv/"] = json.dumps(page).encode()


class Answer(BaseHTTPRequestHandler):
    """Gives a page."""

    server: Index

    def do_GET(self) -> None:
        """Answer with what there is at the path."""
        content = self.server.pages.get(self.path)
        self.send_response(404 if content is None else 200)
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def index() -> Iterator[Index]:
    """Start a package index."""
    with Index(("127.0.0.1", 0), Answer) as server:
        server.pages = {}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def by_hand(index: Index, folder: Path) -> tuple[int, str, Path]:
    """Run the script with nothing but Python's standard library."""
    address = f"http://127.0.0.1:{index.server_port}/simple"
    return get_uv(folder, "venv", "pip", UV_DEFAULT_INDEX=address, no_proxy="127.0.0.1")


def test_the_newest_wheel_that_fits(index: Index, tmp_path: Path) -> None:
    """Not the last in the list, nor a pre-release, one taken back or another system's."""
    for release in ("0.9.0", "0.13.9", "0.13.10", "0.2.0"):
        index.add(release)
    index.add("1.0.0rc1")
    index.add("2.0.0", yanked=True)
    index.add("3.0.0", "macosx_11_0")
    code, said, uv = by_hand(index, tmp_path)
    assert code == 0, said
    assert version(uv) == "uv 0.13.10\n"


@pytest.mark.parametrize("trouble", ["changed", "no wheel", "no page", "no index", "no address"])
def test_no_way(index: Index, trouble: str, tmp_path: Path) -> None:
    """It asks whether the network is there, and leaves nothing."""
    index.add("0.13.9", "win" if trouble == "no wheel" else "manylinux_2_17")
    if trouble == "changed":
        path = next(path for path in index.pages if path.startswith("/files"))
        index.pages[path] += b"more"
    elif trouble == "no page":
        index.pages.clear()
    elif trouble == "no index":
        index.server_close()
    if trouble == "no address":
        nothing = dict.fromkeys(["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"], "")
        code, said, _ = get_uv(tmp_path, "venv", "pip", **nothing)
        assert "PIP_INDEX_URL" in said
    else:
        code, said, _ = by_hand(index, tmp_path)
    assert code == 1
    assert "uv could not be installed: is the network there?" in said
    assert not (tmp_path / ".uv").exists()
