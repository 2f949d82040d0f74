"""The container engine of this machine: Docker with BuildKit or Podman, by its command line."""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from runtime.errors import ProjectError

ENGINES = ("docker", "podman")
# An engine that is there answers at once; a registry may be far away.
ENGINE_SECONDS, REGISTRY_SECONDS = 20, 60
REFUSALS = re.compile(
    r"unauthorized|denied|no basic auth credentials|authentication required|forbidden|\b40[13]\b",
    re.IGNORECASE,
)
ABSENCE = re.compile(
    r"no such manifest|manifest unknown|name unknown|not found|\b404\b", re.IGNORECASE
)
# What Podman 4 says of an image that is there and no list of images.
SINGLE = "Treating single images as manifest lists is not implemented"
# Asked in plain HTTP, as Docker's daemon does by itself; Podman has registries.conf for it.
LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?/")
SURROUNDINGS = {
    "DOCKER_BUILDKIT": "1",
    # So that what is pushed is an image, not an index of one and its attestation.
    "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
}
# BuildKit numbers what it does: "#3 [internal] load metadata for REF", and then "#3 ERROR: …".
BASE_MISSING = (
    r"^(?P<step>#\d+) \[internal\] load metadata for (.*\n)*?(?P=step) ERROR: (?P<why>.*)$",
    r"^Error: creating build container: (?P<why>.*)$",
)
# What is wrong when the log of a build has this in it, from the most to the least certain.
REASONS = (
    (
        r"buildx component is missing|--mount option requires BuildKit",
        "this docker cannot use BuildKit: install its plugin buildx "
        "(Debian: docker-buildx, elsewhere: docker-buildx-plugin)",
    ),
    (
        r"exec format error",
        "this machine cannot run programs of {platform}: install QEMU for other platforms, or "
        "give the nodes' platform as `images.platform` in config/project.yaml",
    ),
    (
        r"No interpreter found|pip: (command )?not found|useradd: (command )?not found",
        "the base image {base} does not hold what an image starts from: Python 3.11 and pip, on "
        "Debian or Ubuntu",
    ),
    (
        r"name resolution|dns error|failed to lookup address|Name or service not known|"
        r"Temporary failure resolving|NewConnectionError|Network is unreachable|ConnectTimeout",
        "the build does not reach where it gets packages from: docs/images.md says how it is told "
        "of a company's index, of a proxy, and of another network",
    ),
)


class Engine:
    """Docker or Podman. A method that takes a log writes there what the engine says."""

    def __init__(self, program: str) -> None:
        self.program = program
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def require(self) -> None:
        """Refuse to go on with an engine that does not answer."""
        done = self._ask("version")
        if done.returncode != 0:
            said = last_line(done.stderr)
            forbidden = "join the group `docker`, or use Podman by ENGINE=podman"
            silent = "start it, or set DOCKER_HOST to where it listens"
            way_out = forbidden if "permission denied" in said else silent
            raise ProjectError(f"{self.program} does not answer ({said}): {way_out}")

    def size(self, reference: str) -> int | None:
        """The bytes of an image, layers that it shares included; None when it is not here."""
        done = self._ask("image", "inspect", "--format", "{{.Size}}", reference)
        return int(done.stdout) if done.returncode == 0 else None

    def published(self, reference: str) -> bool | None:
        """Whether the registry has an image; None when it refuses to say.

        Raises:
            ProjectError: the registry cannot be reached.
        """
        docker = self.program == "docker"
        options = ["--insecure"] if docker and LOOPBACK.match(reference) else []
        done = self._ask("manifest", "inspect", *options, reference, seconds=REGISTRY_SECONDS)
        if done.returncode == 0 or SINGLE in done.stderr:
            return True
        if ABSENCE.search(done.stderr):
            return False
        if REFUSALS.search(done.stderr):
            return None
        raise ProjectError(
            f"the registry {registry(reference)} cannot be reached ({last_line(done.stderr)}): "
            "look at `registry` in config/environments/, or build for this machine by ENV=local"
        )

    def build(
        self,
        folder: Path,
        reference: str,
        *,
        base: str,
        platform: str,
        labels: Mapping[str, str],
        secrets: Mapping[str, Path],
        arguments: Sequence[str],
        log: IO[bytes],
    ) -> None:
        """Build the image of a folder that holds a Dockerfile and what it copies.

        Raises:
            ProjectError: it cannot be built.
        """
        options = [f"--build-arg=BASE_IMAGE={base}", f"--platform={platform}"]
        options += [f"--label={name}={value}" for name, value in labels.items()]
        options += [f"--secret=id={name},src={path}" for name, path in secrets.items()]
        code, said = self._do(log, "build", *options, *arguments, "--tag", reference, str(folder))
        if code < 0:
            raise ProjectError(f"{self.program} was ended by signal {-code}")
        if code != 0:
            self.require()
            raise ProjectError(reason(said, base, platform))

    def push(self, reference: str, log: IO[bytes]) -> None:
        """Give an image to the registry that its name begins with.

        Raises:
            ProjectError: the registry refuses, or cannot be reached.
        """
        code, said = self._do(log, "push", reference)
        if code == 0:
            return
        self.require()
        where = registry(reference)
        if REFUSALS.search(last_line(said)):
            raise ProjectError(
                f"the registry {where} refuses {reference} ({last_line(said)}): "
                f"`{self.program} login {where}` as somebody who may push there"
            )
        raise ProjectError(f"{reference} could not be pushed to {where} ({last_line(said)})")

    def stop(self) -> None:
        """End what runs, and start nothing any more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()

    def _ask(
        self, *arguments: str, seconds: int = ENGINE_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        command = [self.program, *arguments]
        try:
            return subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, "", f"no answer in {seconds} s")

    def _do(self, log: IO[bytes], *arguments: str) -> tuple[int, str]:
        start = log.tell()
        with self._lock:
            if self._stopped:
                return 1, "stopped"
            process = subprocess.Popen(
                [self.program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **SURROUNDINGS},
            )
            self._running.add(process)
        try:
            code = process.wait()
        finally:
            with self._lock:
                self._running.discard(process)
        log.seek(start)
        said = log.read().decode(errors="replace")
        return code, said


def find(wanted: str = "") -> Engine:
    """The engine that is asked for, or the first that is installed; it answers.

    Raises:
        ProjectError: there is none, or it does not answer.
    """
    if wanted and wanted not in ENGINES:
        raise ProjectError(f"there is no engine {wanted!r}: ENGINE is {' or '.join(ENGINES)}")
    program = next(filter(shutil.which, [wanted] if wanted else ENGINES), None)
    if program is None:
        raise ProjectError(
            f"{wanted or 'neither docker nor podman'} is {'not ' if wanted else ''}on the PATH: "
            "install it (docs/images.md), or leave images to CI"
        )
    engine = Engine(program)
    engine.require()
    return engine


def registry(reference: str) -> str:
    """The host of the registry that an image's name begins with."""
    host, slash, _ = reference.partition("/")
    return host if slash and re.search(r"[.:]|^localhost$", host) else "docker.io"


def reason(log: str, base: str, platform: str) -> str:
    """Why a build failed, in a sentence where it is a known way to fail."""
    for pattern in BASE_MISSING:
        if error := re.search(pattern, log, re.MULTILINE):
            return (
                f"the base image {base} cannot be had ({error['why']}): look at "
                "`images.base_image` in config/project.yaml"
            )
    for pattern, sentence in REASONS:
        if re.search(pattern, log):
            return sentence.format(base=base, platform=platform)
    # BuildKit ends with the command that failed; what that said last is above.
    said = re.findall(r"^#\d+ \d+\.\d+ (.*\S)", log, re.MULTILINE)
    return said[-1] if said else last_line(log)


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
