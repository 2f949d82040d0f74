"""Content-addressed images: the tag of a step is the hash of exactly what its image holds."""

import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

from runtime.errors import ProjectError
from tools import imports
from tools.project import ROOT, project

PLATFORM = "linux/amd64"
TAG_LENGTH = 16
LAUNCHER = b"kfp=="
LAUNCHER_GROUP = ("--only-group", "tools")
_registry = ""


def use_registry(registry: str) -> None:
    """Name images for this registry from now on; empty for the local engine."""
    global _registry
    _registry = registry


@cache
def image(step: str) -> str:
    """The reference of a step's image, for `@dsl.component(base_image=...)`.

    Raises:
        ProjectError: a file that the image needs is missing or cannot be read.
    """
    name = f"{project().name}-{step.replace('_', '-')}"
    prefix = f"{_registry.rstrip('/')}/" if _registry else ""
    return f"{prefix}{name}:{tag(step)}"


def tag(step: str, root: Path = ROOT) -> str:
    """The hash of a step's build context, base image, platform and epoch, in 16 hex digits.

    Of the context count paths, executable bits and contents; file times, owners and the place of
    the checkout do not.
    """
    settings = project(root).images
    digest = hashlib.sha256(f"{settings.base_image}\0{PLATFORM}\0{settings.epoch}\0".encode())
    for path, content in sorted(context(step, root).items()):
        executable = (root / path).exists() and (root / path).stat().st_mode & 0o111
        digest.update(f"{path}\0{'x' if executable else '-'}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:TAG_LENGTH]


def context(step: str, root: Path = ROOT) -> Mapping[str, bytes]:
    """The build context of a step's image: path in the image to content.

    Its Dockerfile and folder without tests, every module of the project that its component
    imports, directly or not, and the pinned requirements of that step alone.
    """
    folder = root / "steps" / step
    if not (folder / "component.py").exists():
        raise ProjectError(f"there is no step {step!r}: steps/{step}/component.py is missing")
    files = {
        path
        for path in folder.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not path.name.startswith(("test_", "."))
        and path.name != "pyproject.toml"
    }
    files |= imports.closure(f"steps.{step}.component", root)
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
    found["Dockerfile"] = found.pop(f"steps/{step}/Dockerfile", b"")
    found["requirements.txt"] = requirements(step, root)
    return found


def prefetch(steps: Sequence[str], root: Path = ROOT) -> None:
    """Have uv look up the requirements of these steps while Python does something else."""
    for selection in [LAUNCHER_GROUP, *map(_package, steps)]:
        _export(root, *selection)


def requirements(step: str, root: Path = ROOT) -> bytes:
    """Pinned and hashed requirements of one step, with the launcher that starts a component."""
    prefetch([step], root)
    return _export(root, *_package(step)).result() + _launcher(root)


def _launcher(root: Path) -> bytes:
    # Without its own dependencies: a component runs without them, and they weigh more than it.
    lines = _export(root, *LAUNCHER_GROUP).result().splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.startswith(LAUNCHER))
    length = next(n for n, line in enumerate(lines[start:], 1) if not line.endswith(b"\\\n"))
    return b"".join(lines[start : start + length])


def _package(step: str) -> tuple[str, str]:
    return ("--package", f"step-{step}")


def forget() -> None:
    """Read the project's files again at the next question."""
    imports.graph.cache_clear()
    for cached in (image, _export):
        cached.cache_clear()


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
