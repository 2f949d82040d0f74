"""What is said of a pushed image under signature: that it is ours, what it holds, what it is of.

By cosign, without a key: whoever builds is known to GitHub, and a public log keeps that. Trivy
lists what an image holds. The image itself is the same without all this, whichever engine built it.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from runtime.errors import ProjectError
from tools import published
from tools.engine import LOOPBACK, last_line
from tools.project import ImageSettings
from tools.template import git

COSIGN, TRIVY = "cosign", "trivy"
WORKFLOW = ".github/workflows/_main.yml@refs/heads/main"
"""Who is believed: on a branch of their own, whoever may push says what a workflow does."""
ISSUER = "https://token.actions.githubusercontent.com"
SECONDS = 300
ON_GITHUB = re.compile(
    r"(?:https://|ssh://git@|git@)(?P<host>[^/:]+)[/:](?P<name>[^/]+/[^/]+?)(\.git)?/?"
)


class Signer:
    """Signs as the workflow that runs here, and believes what main's workflow has signed.

    Raises:
        ProjectError: a program is not installed, or nothing says which repository this is.
    """

    def __init__(self, *programs: str) -> None:
        for program in (COSIGN, *programs):
            if not shutil.which(program):
                raise ProjectError(
                    f"{program} is not on the PATH, by which images are signed: install it, or "
                    "leave SIGN=1 to CI (docs/images.md)"
                )
        self.source = source()

    def verified(self, reference: str) -> bool:
        """Whether main's workflow has signed what the registry has for a reference.

        Raises:
            ProjectError: nobody can say.
        """
        whole = self._by_digest(reference)
        done = self._run(
            "verify",
            f"--certificate-identity={self.source}/{WORKFLOW}",
            f"--certificate-oidc-issuer={ISSUER}",
            whole,
        )
        if done.returncode == 0:
            return True
        said = done.stdout + done.stderr
        if re.search(r"no (matching )?signatures|no signatures found|none of the expected", said):
            return False
        raise ProjectError(
            f"whether {reference} is signed cannot be looked at ({last_line(said)}): is the "
            "network there, and may you read in that registry?"
        )

    def sign(self, reference: str, provenance: Mapping[str, Any], log: IO[bytes]) -> None:
        """Sign what was pushed, with what it holds and what it was built from.

        Raises:
            ProjectError: it could not be signed; it is in the registry all the same.
        """
        whole = self._by_digest(reference)
        with tempfile.TemporaryDirectory(prefix="attest-") as name:
            contents, origin = Path(name, "contents.json"), Path(name, "origin.json")
            self._do(log, TRIVY, "image", "--format=cyclonedx", f"--output={contents}", reference)
            origin.write_text(json.dumps(provenance))
            self._cosign(log, "sign", whole)
            self._cosign(log, "attest", "--type=cyclonedx", f"--predicate={contents}", whole)
            self._cosign(log, "attest", "--type=slsaprovenance1", f"--predicate={origin}", whole)

    def _cosign(self, log: IO[bytes], verb: str, *arguments: str) -> None:
        *options, whole = arguments
        self._do(log, COSIGN, verb, "--yes", *self._insecure(whole), *options, whole)

    def _do(self, log: IO[bytes], program: str, *arguments: str) -> None:
        done = self._start(program, *arguments)
        log.write(f"$ {program} {' '.join(arguments)}\n{done.stdout}{done.stderr}".encode())
        if done.returncode:
            raise ProjectError(
                f"it is pushed, and not signed, as {program} failed "
                f"({last_line(done.stderr or done.stdout)}): delete it in the registry, or raise "
                "`images.epoch` in config/project.yaml, and build again"
            )

    def _run(self, verb: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        *options, whole = arguments
        return self._start(COSIGN, verb, *self._insecure(whole), *options, whole)

    @staticmethod
    def _start(*command: str) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, "", f"no answer in {SECONDS} s")

    @staticmethod
    def _insecure(reference: str) -> tuple[str, ...]:
        return ("--allow-http-registry",) if LOOPBACK.match(reference) else ()

    @staticmethod
    def _by_digest(reference: str) -> str:
        digest = published.digest(reference)
        if not digest:
            raise ProjectError(f"the registry has no {reference}, so there is nothing to sign")
        return f"{reference.rpartition(':')[0]}@{digest}"


def server() -> str:
    """GitHub, or a company's own."""
    return os.environ.get("GITHUB_SERVER_URL", "https://github.com")


def source() -> str:
    """The repository's place on the web, as certificates of its workflows have it.

    Raises:
        ProjectError: nothing says it.
    """
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return f"{server()}/{name}"
    try:
        found = ON_GITHUB.fullmatch(git("remote", "get-url", "origin").strip())
    except ProjectError:
        found = None
    if not found:
        raise ProjectError(
            "the remote `origin` is no repository on GitHub, by whose workflows images are signed: "
            "`git remote add origin git@github.com:OWNER/NAME.git`"
        )
    return f"https://{found['host']}/{found['name']}"


def provenance(source: str, revision: str, name: str, settings: ImageSettings) -> dict[str, Any]:
    """What an image was built from and by whom, as SLSA 1.0 has it."""
    known = os.environ
    run = f"{source}/actions/runs/{known.get('GITHUB_RUN_ID', '')}"
    attempt = known.get("GITHUB_RUN_ATTEMPT", "1")
    workflow = known.get("GITHUB_WORKFLOW_REF", "")
    return {
        "buildDefinition": {
            "buildType": f"{source}/blob/{revision}/tools/build.py",
            "externalParameters": {
                "image": name,
                "platform": settings.platform,
                "epoch": settings.epoch,
            },
            "internalParameters": {},
            "resolvedDependencies": [
                {"uri": f"git+{source}", "digest": {"gitCommit": revision}},
                {"uri": f"docker-image://{settings.base(name)}"},
            ],
        },
        "runDetails": {
            "builder": {"id": f"{server()}/{workflow}" if workflow else source},
            "metadata": {"invocationId": f"{run}/attempts/{attempt}"},
        },
    }
