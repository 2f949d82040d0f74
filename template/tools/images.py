"""Content-addressed images: the tag of an image is the hash of exactly what it holds.

There is one for each step, one for the model server, called `serving`, and one for the payload
log, called `payloads`.
"""

import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

from runtime.errors import ProjectError
from tools import imports
from tools.project import ROOT, project

SERVING = "serving"
PAYLOADS = "payloads"
SETTINGS = "payloads.json"
"""config/payloads.yaml, as the image of the payload log has it."""
SERVICES = {
    SERVING: ("serving", "serving.__main__"),
    PAYLOADS: ("platform/payloads", "runtime.sink"),
}
"""What has an image and is no step: its folder, and the module that runs."""
TAG_LENGTH = 16
PAYLOADS_PACKAGE = ("--package=runtime", "--extra=payloads", "--extra=gcs", "--extra=s3")
LAUNCHER = b"kfp=="
LAUNCHER_GROUP = ("--only-group", "tools")


def image(name: str, registry: str = "") -> str:
    """The reference of an image, as in `@dsl.component(base_image=image("train"))`.

    Components name the image of the local engine; an environment with a registry puts it in front
    when it configures the pipeline (tools/environment.py).

    Raises:
        ProjectError: a file that the image needs is missing or cannot be read.
    """
    prefix = f"{registry.rstrip('/')}/" if registry else ""
    return f"{prefix}{repository(name)}:{tag(name)}"


def names(root: Path = ROOT) -> list[str]:
    """All images of the project: the steps', and those of the services that it has."""
    steps = project(root).steps
    services = [name for name in SERVICES if (root / home(name, root)[0] / "Dockerfile").exists()]
    return [*steps, *(name for name in services if name not in steps)]


def home(name: str, root: Path = ROOT) -> tuple[str, str]:
    """The folder with the Dockerfile of an image, and the module that runs in it."""
    if name in SERVICES and name not in project(root).steps:
        return SERVICES[name]
    return f"steps/{name}", f"steps.{name}.component"


def repository(name: str) -> str:
    """What an image is called, without registry and tag."""
    return f"{project().name}-{name.replace('_', '-')}"


@cache
def tag(name: str, root: Path = ROOT) -> str:
    """The hash of an image's build context, base image, platform and epoch, in 16 hex digits.

    Of the context count paths, executable bits and contents; file times, owners and the place of
    the checkout do not.
    """
    settings = project(root).images
    digest = hashlib.sha256(
        f"{settings.base(name)}\0{settings.platform}\0{settings.epoch}\0".encode()
    )
    for path, file in sorted(context(name, root).items()):
        digest.update(f"{path}\0{'x' if file.executable else '-'}\0{len(file.content)}\0".encode())
        digest.update(file.content)
    return digest.hexdigest()[:TAG_LENGTH]


class File(NamedTuple):
    """A file of a build context."""

    content: bytes
    executable: bool = False


def context(name: str, root: Path = ROOT) -> Mapping[str, File]:
    """The build context of an image: path to file.

    Its Dockerfile and folder without tests, every module of the project that is imported by its
    component (by the server's entry), directly or not, and its own pinned requirements. Beside the
    Dockerfile of the payload log is what a cluster is told: of that, the image has nothing.
    """
    place, module = home(name, root)
    folder = root / place
    entry = root.joinpath(*module.split(".")).with_suffix(".py")
    dockerfile = folder / "Dockerfile"
    for path, way_out in (
        (entry, f"there is no step {name!r}"),
        (dockerfile, "bring it back by `git checkout`, or by an update of the template"),
    ):
        if not path.exists():
            raise ProjectError(f"{path.relative_to(root)} is missing: {way_out}")
    own = entry.parent == folder
    paths = {
        path
        for path in (folder.rglob("*") if own else ())
        if path.is_file()
        and "__pycache__" not in path.parts
        and not path.name.startswith(("test_", "."))
        and path.name not in ("Dockerfile", "pyproject.toml")
        # Of the model server's: a release names the image, and so must not change it.
        and path.relative_to(folder).parts[0] != "deploy"
    }
    paths |= imports.closure(module, root)
    files = {path.relative_to(root).as_posix(): path for path in paths} | {"Dockerfile": dockerfile}
    found = {
        path: File(file.read_bytes(), bool(file.stat().st_mode & 0o111))
        for path, file in files.items()
    }
    found["requirements.txt"] = File(requirements(name, root))
    if own:
        # A team that needs no system package may have deleted it.
        found.setdefault(f"{place}/apt.txt", File(b""))
    else:
        found[SETTINGS] = File(project(root).payloads.to_json().encode())
    return found


def prefetch(wanted: Sequence[str], root: Path = ROOT) -> None:
    """Have uv look up the requirements of these images while Python does something else."""
    for selection in [LAUNCHER_GROUP, *(_package(name, root) for name in wanted)]:
        _export(root, *selection)


def requirements(name: str, root: Path = ROOT) -> bytes:
    """Pinned and hashed requirements of one image; of a step, with what starts its component."""
    prefetch([name], root)
    own = _export(root, *_package(name, root)).result()
    return own + _launcher(root) if name in project(root).steps else own


def _launcher(root: Path) -> bytes:
    # Without its own dependencies: a component runs without them, and they weigh more than it.
    lines = _export(root, *LAUNCHER_GROUP).result().splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.startswith(LAUNCHER))
    length = next(n for n, line in enumerate(lines[start:], 1) if not line.endswith(b"\\\n"))
    return b"".join(lines[start : start + length])


def _package(name: str, root: Path) -> tuple[str, ...]:
    if name == PAYLOADS and name not in project(root).steps:
        return PAYLOADS_PACKAGE
    return ("--package", f"step-{name}" if name in project(root).steps else name)


_pool = ThreadPoolExecutor(thread_name_prefix="uv-export")


@cache
def _export(root: Path, *selection: str) -> Future[bytes]:
    return _pool.submit(_run_export, root, *selection)


def _run_export(root: Path, *selection: str) -> bytes:
    command = ["uv", "export", "--frozen", "--no-emit-workspace", "--no-header", "--no-annotate"]
    command += ["--format", "requirements-txt", *selection]
    try:
        return subprocess.run(command, cwd=root, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise ProjectError("uv is not on the PATH: run this by `make`") from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode().strip().splitlines()[-1]
        raise ProjectError(f"uv.lock is not up to date: run `make setup` ({reason})") from None
