"""`make images`: build the images that are missing, each from exactly what its tag covers.

With `CHECK=1` nothing is built, and the exit code is 0 whatever is missing. With `JSON=1` standard
output is one list, with an object for each image:

name    the step, `serving` or `payloads`
image   its whole reference, tag included
state   of a check: `present` where it has to be (in the environment's registry, or in the engine
        where there is none), `local` (in the engine, but not in the registry), `missing`, or
        `unknown`: the registry refuses to say. With `BASE=` it is `unchanged` where it is nowhere,
        but no other than that commit's: who builds that builds it too. With `SIGN=1` it is
        `unsigned` where the registry has it, and main's workflow did not sign it. Of a build:
        `present`, `local`, `built`, `pushed`
bytes   its size in the engine, or null where only the registry has it
seconds what building and pushing it took; 0 when there was nothing to do
"""

import json
import os
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from runtime.errors import ProjectError
from tools import base, engine, images, package_index, screen
from tools.attest import TRIVY, Signer, provenance
from tools.commit import commit
from tools.engine import Engine
from tools.environment import Environment
from tools.images import File
from tools.project import ROOT, project

LOGS = ROOT / "artifacts" / "images"
LOG_LINES_SHOWN = 15
# A build waits for the network as long as it computes.
AT_ONCE = 4
# Of every file in a context, so that one content is one layer, whenever it is written.
TIME = 315532800
MEGA = 10**6
STYLES = {
    "present": "dim",
    "local": "dim",
    "missing": "yellow",
    "unknown": "yellow",
    "unsigned": "bold red",
    "unchanged": "dim",
    "waiting": "dim",
    "building": "bold cyan",
    "built": "green",
    "pushing": "bold cyan",
    "pushed": "green",
    "signing": "bold cyan",
    "failed": "bold red",
    "left out": "dim",
}
BUSY = ("building", "pushing", "signing")
ABSENT = ("missing", "unknown")
UNSIGNED = (
    "the registry has it, and main's workflow did not sign it: whoever pushed it was not that one, "
    "or was stopped half-way. Delete it there, or raise `images.epoch` in config/project.yaml"
)


@dataclass
class Image:
    """One image, and how far it is."""

    name: str
    reference: str
    state: str = "missing"
    bytes: int | None = None
    started: float = 0.0
    seconds: float = 0.0
    problem: str = ""
    log: Path | None = None


def build(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    only: Annotated[str, typer.Option(help="Names with a space between; empty: all.")] = "",
    check: Annotated[bool, typer.Option(help="Say what is missing, and build nothing.")] = False,
    push: Annotated[bool, typer.Option(help="Push what the registry lacks.")] = False,
    sign: Annotated[bool, typer.Option(help="Sign what is pushed, and verify the others.")] = False,
    since: Annotated[str, typer.Option("--base", help="Only what a commit has otherwise.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    program: Annotated[str, typer.Option("--engine", help="docker or podman.")] = "",
    arguments: Annotated[
        str, typer.Option(envvar="BUILD_ARGS", help="More for the engine's `build`.")
    ] = "",
) -> None:
    """Build what neither the environment's registry nor this machine's engine has."""
    environment = project().environment(env)
    wanted = selected(only)
    if push:
        require_push(environment, env)
    signer = signer_of(environment, env, check=check, push=push) if sign else None
    try:
        more = shlex.split(arguments)
    except ValueError as error:
        raise ProjectError(f"BUILD_ARGS is {arguments!r}, which no shell reads: {error}") from None
    images.prefetch(wanted)
    found = engine.find(program)
    shown = not as_json
    with screen.console.status("Looking what is there") if shown else nullcontext():
        all_of_them = [Image(name, images.image(name, environment.registry)) for name in wanted]
        look(all_of_them, found, in_registry=bool(environment.registry))
        if signer:
            doubt(all_of_them, signer)
        if since:
            set_aside(all_of_them, base.images(base.resolve(since)))
    unknown = [image for image in all_of_them if image.state == "unknown"]
    if unknown:
        screen.warn(
            f"{environment.registry} refuses to say what it has: it counts as missing. If you may "
            f"read there, `{found.program} login {engine.registry(unknown[0].reference)}` first"
        )
    if not check:
        work = Workshop(found, all_of_them, more, push=push, signer=signer, shown=shown)
        try:
            work.do()
        except KeyboardInterrupt:
            screen.what_next("Stopped. `make images` goes on with what is missing.")
            raise
    if as_json:
        json.dump([described(image) for image in all_of_them], sys.stdout, indent=2)
        print()
    elif check:
        screen.console.print(table(all_of_them))
    failed = [image for image in all_of_them if image.state == "failed"]
    if failed:
        screen.fail(complaint(failed))
    if shown:
        screen.what_next(*outlook(all_of_them, environment, env))


def selected(only: str) -> list[str]:
    """The images that are asked for: all when none is named."""
    known = images.names()
    wanted = only.replace(",", " ").split()
    for name in wanted:
        if name not in known:
            raise ProjectError(f"there is no image {name!r}: IMAGE is one of {', '.join(known)}")
    return [name for name in known if name in wanted] if wanted else known


def require_push(environment: Environment, env: str) -> None:
    """Refuse to push where there is nowhere to push to, or where only CI does."""
    if not environment.registry:
        raise ProjectError(
            f"the environment {env!r} has no registry to push to: choose another by ENV=, or give "
            f"`registry` in config/environments/{env}.yaml"
        )
    if not project().images.push_outside_ci and os.environ.get("CI", "") in ("", "0", "false"):
        raise ProjectError(
            "only CI pushes images, so that each is made of a commit: run it there, or allow it "
            "here by `push_outside_ci: true` below `images:` in config/project.yaml"
        )


def signer_of(environment: Environment, env: str, *, check: bool, push: bool) -> Signer:
    """Who signs, or verifies; refused where there is nothing to sign."""
    if not environment.registry or not (push or check):
        raise ProjectError(
            "only what a registry has can be signed: SIGN=1 goes with PUSH=1, or with CHECK=1 to "
            f"verify, and with an ENV= that has a registry; here it is ENV={env}"
        )
    if not check and commit().dirty:
        raise ProjectError("what is signed is of a commit, and a file differs: commit first")
    return Signer() if check else Signer(TRIVY)


def doubt(them: Sequence[Image], signer: Signer) -> None:
    """What is there already is believed only if it is signed."""
    there = [image for image in them if image.state == "present"]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for image, signed in zip(
            there, pool.map(lambda each: signer.verified(each.reference), there), strict=True
        ):
            if not signed:
                image.state = "unsigned"


def look(them: Sequence[Image], found: Engine, *, in_registry: bool) -> None:
    """Find out the state of each image."""

    def ask(image: Image) -> None:
        published = found.published(image.reference) if in_registry else False
        image.bytes = found.size(image.reference)
        if published or (image.bytes and not in_registry):
            image.state = "present"
        elif image.bytes:
            image.state = "local"
        else:
            image.state = "unknown" if published is None else "missing"

    with ThreadPoolExecutor(len(them)) as pool:
        list(pool.map(ask, them))


def set_aside(them: Sequence[Image], known: Set[str]) -> None:
    """Leave out what another commit has as well, by the images' names without a registry."""
    for image in them:
        if image.state in ABSENT and image.reference.rpartition("/")[2] in known:
            image.state = "unchanged"


class Workshop:
    """Builds and pushes some images at a time, and shows how far each is."""

    def __init__(
        self,
        found: Engine,
        them: Sequence[Image],
        arguments: Sequence[str],
        *,
        push: bool,
        signer: Signer | None,
        shown: bool,
    ) -> None:
        self._engine = found
        self._images = them
        self._arguments = arguments
        self._push = push
        self._signer = signer
        self._shown = shown
        self._refused = threading.Event()
        checkout = commit()
        self._revision = "" if checkout.dirty else checkout.hash

    def do(self) -> None:
        """Build what is missing, and push what is to be pushed."""
        local = [image for image in self._images if image.state == "local"]
        # What is signed is built here and now: a name in the engine anybody may have given.
        anew = local if self._signer else []
        build = [*anew, *(image for image in self._images if image.state in ABSENT)]
        push = local if self._push and not anew else []
        for image in self._images:
            if image.state == "unsigned":
                image.state, image.problem = "failed", UNSIGNED
        for image in build:
            image.state = "waiting"
        live = self._shown and screen.console.is_terminal
        view = Live(console=screen.console, get_renderable=lambda: table(self._images))
        pool = ThreadPoolExecutor(AT_ONCE)
        with view if live else nullcontext():
            try:
                for image in pool.map(self._one, [*push, *build]):
                    if self._shown and not live:
                        screen.console.print(f"{image.name:<20} {image.state}")
            except KeyboardInterrupt:
                self._engine.stop()
                raise
            finally:
                pool.shutdown(cancel_futures=True)
        if self._shown and not live:
            screen.console.print(table(self._images))

    def _one(self, image: Image) -> Image:
        image.started = time.perf_counter()
        try:
            with log_of(image) as log:
                if image.state == "waiting":
                    image.state = "building"
                    self._build(image, log)
                    image.state = "built"
                if self._push:
                    self._give(image, log)
        except ProjectError as error:
            image.state, image.problem = "failed", str(error)
        image.seconds = time.perf_counter() - image.started
        image.bytes = self._engine.size(image.reference)
        return image

    def _build(self, image: Image, log: IO[bytes]) -> None:
        settings = project().images
        start = settings.base(image.name)
        repository, _, tag = image.reference.rpartition(":")
        labels = {
            "org.opencontainers.image.title": repository.rpartition("/")[2],
            "org.opencontainers.image.version": tag,
            "org.opencontainers.image.base.name": start,
        }
        if self._revision:
            labels["org.opencontainers.image.revision"] = self._revision
        with tempfile.TemporaryDirectory(prefix="image-") as name:
            folder, private = Path(name, "context"), Path(name)
            write(images.context(image.name), folder)
            self._engine.build(
                folder,
                image.reference,
                base=start,
                platform=settings.platform,
                labels=labels,
                secrets=package_index.secrets(private),
                arguments=self._arguments,
                log=log,
            )

    def _give(self, image: Image, log: IO[bytes]) -> None:
        if self._refused.is_set():
            # What it said to one it says to all, and an engine tries each for a minute.
            image.state = "left out"
            return
        image.state = "pushing"
        try:
            self._engine.push(image.reference, log)
        except ProjectError:
            self._refused.set()
            raise
        if self._signer:
            image.state = "signing"
            self._signer.sign(image.reference, self._origin(image), log)
        image.state = "pushed"

    def _origin(self, image: Image) -> dict[str, Any]:
        source, settings = self._signer.source if self._signer else "", project().images
        return provenance(source, self._revision, image.name, settings)


def write(context: Mapping[str, File], folder: Path) -> None:
    """Write a build context, the same on every machine and at any time."""
    for path, file in context.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        target.chmod(0o755 if file.executable else 0o644)
    for target in (folder, *folder.rglob("*")):
        if target.is_dir():
            target.chmod(0o755)
        os.utime(target, (TIME, TIME))


@contextmanager
def log_of(image: Image) -> Iterator[IO[bytes]]:
    """A log of its own, even when the same image is built twice at once; the last has the name."""
    LOGS.mkdir(parents=True, exist_ok=True)
    image.log = LOGS / f"{image.name}.log"
    own = image.log.with_suffix(f".{os.getpid()}")
    with own.open("w+b", buffering=0) as log:
        own.replace(image.log)
        yield log


def described(image: Image) -> dict[str, str | float | None]:
    """An image as JSON has it."""
    return {
        "name": image.name,
        "image": image.reference,
        "state": image.state,
        "bytes": image.bytes,
        "seconds": round(image.seconds, 1),
    }


def table(them: Sequence[Image]) -> Table:
    """A row per image."""
    shown = Table("image", "tag", "state", box=None, pad_edge=False, header_style="dim")
    shown.add_column("MB", justify="right")
    shown.add_column("seconds", justify="right")
    for image in them:
        busy = image.state in BUSY
        seconds = time.perf_counter() - image.started if busy else image.seconds
        shown.add_row(
            image.name,
            image.reference.rpartition(":")[2],
            Spinner("dots", image.state) if busy else image.state,
            f"{image.bytes / MEGA:.0f}" if image.bytes else "",
            f"{seconds:.1f}" if seconds else "",
            style=STYLES[image.state],
        )
    return shown


def complaint(failed: Sequence[Image]) -> str:
    """What went wrong, each problem once, with the end of a log."""
    problems: dict[str, list[Image]] = {}
    for image in failed:
        problems.setdefault(image.problem, []).append(image)
    parts = []
    for problem, them in problems.items():
        names = ", ".join(image.name for image in them)
        parts.append(f"{names} failed: {problem}")
        for log in [image.log for image in them if image.log][:1]:
            lines = log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
            end = "\n".join(f"    {line}" for line in lines)
            parts[-1] += f"\n  its log: {log.relative_to(ROOT)}\n{end}"
    return "\n\n".join(parts)


def outlook(them: Sequence[Image], environment: Environment, env: str) -> list[str]:
    """What to do now."""
    states = {image.state for image in them}
    elsewhere = "" if env == "local" else f" ENV={env}"
    if "unsigned" in states:
        return [f"Unsigned means: {UNSIGNED}."]
    if states & {*ABSENT}:
        return [f"`make images{elsewhere}` builds what is missing."]
    if environment.registry and states & {"built", "local"}:
        return [f"CI pushes them, by `make images{elsewhere} PUSH=1`."]
    if environment.registry:
        return ["The registry has them all."]
    return ["`make run RUNNER=docker` runs a pipeline in them."]


if __name__ == "__main__":
    screen.start(build)
