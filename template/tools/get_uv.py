"""Put uv into a folder, with whatever Python there is: Debian's comes without venv and pip.

Needs the standard library alone, and runs on versions too old for everything else here.
"""

import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

FOLDER = Path(sys.argv[1])
UV = FOLDER / "bin" / "uv"
INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
JSON = "application/vnd.pypi.simple.v1+json"


def by_venv() -> None:
    """Install it into a virtual environment."""
    run(sys.executable, "-m", "venv", str(FOLDER))
    run(str(FOLDER / "bin" / "python"), "-m", "pip", "install", "--quiet", "uv")


def by_pip() -> None:
    """Install it into a folder, which pip does where it may not touch Python's own packages."""
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(FOLDER), "uv")


def by_hand() -> None:
    """Take the program out of its newest wheel, once the wheel's hash is verified.

    Without pip, only the environment can say where the package index is.
    """
    index = next((os.environ[name] for name in INDEXES if os.environ.get(name)), "")
    page = json.loads(fetch(index.rstrip("/") + "/uv/"))
    end = f"_{platform.machine()}.whl"
    fitting = [
        file
        for file in page["files"]
        if "manylinux" in file["filename"]
        and file["filename"].endswith(end)
        and version(file["filename"])
        and not file.get("yanked")
    ]
    newest = max(fitting, key=lambda file: version(file["filename"]))
    wheel = fetch(newest["url"])
    if hashlib.sha256(wheel).hexdigest() != newest["hashes"]["sha256"]:
        raise ValueError("{} is not what the index says".format(newest["filename"]))
    UV.parent.mkdir(parents=True)
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        program = next(name for name in archive.namelist() if name.endswith("/scripts/uv"))
        UV.write_bytes(archive.read(program))
    UV.chmod(0o755)


def version(filename: str) -> "tuple[int, ...]":
    """Read a release's version off a wheel's name; empty for a pre-release."""
    parts = filename.split("-")[1].split(".")
    return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else ()


def fetch(url: str) -> bytes:
    """Read an address of the package index."""
    if not url.startswith(("https://", "http://127.0.0.1:")):
        raise ValueError("no package index is known: PIP_INDEX_URL can name one")
    request = urllib.request.Request(url, headers={"Accept": JSON + ", */*;q=0.1"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        content: bytes = answer.read()
    return content


def run(*command: str) -> None:
    """Run a command, and keep what it says to itself: another way may be open."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> int:
    """Try one way after another."""
    print(f"uv is not installed: getting it into {FOLDER}/", flush=True)
    for way in (by_venv, by_pip, by_hand):
        shutil.rmtree(str(FOLDER), ignore_errors=True)
        try:
            way()
        except (OSError, LookupError, ValueError, subprocess.SubprocessError) as error:
            reason = error
        else:
            return 0
    shutil.rmtree(str(FOLDER), ignore_errors=True)
    print(
        "✗ uv could not be installed: is the network there? "
        f"Install uv yourself, or Debian's python3-venv, then try again. ({reason})",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
