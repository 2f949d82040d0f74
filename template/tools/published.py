"""What a registry says of a published image, and the tag by which it keeps it: by HTTP, with no
engine. By oras an image is copied from one registry to another.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from runtime.errors import ProjectError
from tools.engine import LOOPBACK, REGISTRY_SECONDS, last_line, registry
from tools.project import ROOT

GITHUB = "ghcr.io"
ORAS = "oras"
COPY_SECONDS = 1200
HUB = "docker.io"
HUB_HOST = "registry-1.docker.io"
TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
RELEASED = "released-"
"""What the tag of a released image begins with; infra/modules keep what has it."""
REFERENCE = re.compile(r"(?P<repository>.+?)(?:@(?P<digest>\w+:\w+)|:(?P<tag>[\w.-]+))")


def digest(reference: str) -> str:
    """`sha256:` and 64 hex digits of what a reference names; empty when the registry has it not.

    It is computed of the manifest's bytes, not believed.

    Raises:
        ProjectError: the registry cannot be reached, or refuses to say.
    """
    manifest = _manifest(reference, "read")
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}" if manifest else ""


def cleaned_up(reference: str) -> bool:
    """Whether an image is in a registry that takes old ones away, as those of infra/ do."""
    return (ROOT / "infra" / "modules").is_dir() and registry(reference) != GITHUB


def keep(reference: str) -> str:
    """Give an image, named by its digest, the tag `released-…` that no clean-up takes away.

    Raises:
        ProjectError: the registry cannot be reached, or refuses.
    """
    repository, _, digest = reference.partition("@")
    kept = f"{repository}:{RELEASED}{digest.partition(':')[2][:16]}"
    if not _manifest(kept, "read"):
        _manifest(kept, "tag", _manifest(reference, "read"))
    return kept


def copy(reference: str, target: str) -> None:
    """Copy an image, named by its digest, to where a registry has it not, and what is said of it.

    Its signatures go along, and whatever else refers to it.

    Raises:
        ProjectError: oras is not installed, or a registry refuses.
    """
    repository, _, content = target.partition("@")
    tagged = f"{repository}:{content.partition(':')[2][:16]}"
    if not shutil.which(ORAS):
        raise ProjectError(
            f"the registry {registry(target)} has no {target}. It was tried as {reference}, and is "
            "not built again: install oras, which copies it with its signatures, or copy it "
            f"without, by `skopeo copy --all --preserve-digests docker://{reference} "
            f"docker://{tagged}`"
        )
    sides = {"from": reference, "to": target}
    plain = [f"--{side}-plain-http" for side, each in sides.items() if LOOPBACK.match(each)]
    command = [ORAS, "cp", "--recursive", *plain, reference, tagged]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COPY_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise ProjectError(
            f"{reference} could not be copied to {repository}: no end in {COPY_SECONDS} s"
        ) from None
    if done.returncode or not digest(target):
        raise ProjectError(
            f"{reference} could not be copied to {repository} "
            f"({last_line(done.stderr or done.stdout)}): log in to {registry(reference)} as "
            f"somebody who may read there, and to {registry(target)} as somebody who may push"
        )


def _manifest(reference: str, what: str, content: bytes | None = None) -> bytes:
    """What stands in the registry for a reference, or is put there; empty when nothing does."""
    found = REFERENCE.fullmatch(reference)
    if not found:
        raise ProjectError(f"{reference!r} names no image of a registry")
    host, name = _place(found["repository"])
    scheme = "http" if LOOPBACK.match(reference) else "https"
    server = HUB_HOST if host == HUB else host
    url = f"{scheme}://{server}/v2/{name}/manifests/{found['digest'] or found['tag']}"
    headers = {"Accept": ", ".join(TYPES)}
    if content is not None:
        # A manifest of Docker's or OCI's says itself what it is; OCI lets it be left out.
        kind = json.loads(content).get("mediaType", TYPES[1])
        headers = {"Content-Type": kind}
    try:
        try:
            return _send(url, headers, content)
        except urllib.error.HTTPError as refusal:
            if refusal.code != 401:
                raise
            challenge = refusal.headers.get("WWW-Authenticate", "")
            headers["Authorization"] = _authorization(challenge, _login(host))
            return _send(url, headers, content)
    except urllib.error.HTTPError as refusal:
        if refusal.code == 404 and content is None:
            return b""
        if refusal.code in (401, 403):
            refused = f"to say which image {reference} is" if content is None else reference
            raise ProjectError(
                f"the registry {host} refuses {refused} "
                f"({refusal.code}): `docker login {host}`, or `podman login {host}`, as somebody "
                f"who may {what} there"
            ) from None
        raise ProjectError(f"the registry {host} answers {refusal.code} {refusal.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ProjectError(
            f"the registry {host} cannot be reached ({reason}): look at `registry` in "
            "config/environments/, and whether this machine is in its network"
        ) from None


def _place(repository: str) -> tuple[str, str]:
    """The registry of a repository, and what it is called there."""
    from docker import auth, errors

    try:
        host, name = auth.resolve_repository_name(repository)
    except errors.InvalidRepository as error:
        raise ProjectError(f"{repository!r} is no image of a registry: {error}") from None
    return host, name


def _login(host: str) -> dict[str, str]:
    """What docker or podman were given for a registry; empty when nothing."""
    from docker import auth, errors

    podman = Path(os.environ.get("XDG_RUNTIME_DIR", "/run"), "containers", "auth.json")
    for file in (None, os.environ.get("REGISTRY_AUTH_FILE", str(podman))):
        try:
            known = auth.load_config(file).resolve_authconfig(host)
        except errors.DockerException as error:
            raise ProjectError(f"the login to {host} cannot be read: {error}") from None
        if known:
            return {key.lower(): str(value) for key, value in known.items() if value}
    return {}


def _authorization(challenge: str, login: dict[str, str]) -> str:
    """What answers a registry's challenge, by its token server where it has one."""
    basic = ""
    if "password" in login:
        pair = f"{login.get('username', '')}:{login['password']}"
        basic = f"Basic {base64.b64encode(pair.encode()).decode()}"
    if not challenge.lower().startswith("bearer "):
        return basic
    asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    query = {key: asked[key] for key in ("service", "scope") if key in asked}
    if "identitytoken" in login:
        token = {"grant_type": "refresh_token", "refresh_token": login["identitytoken"]}
        form = urlencode({**query, **token, "client_id": "make"}).encode()
        answer = _get(asked["realm"], {}, form)
    else:
        headers = {"Authorization": basic} if basic else {}
        answer = _get(f"{asked['realm']}?{urlencode(query)}", headers)
    given: dict[str, Any] = json.loads(answer)
    return f"Bearer {given.get('token') or given.get('access_token', '')}"


def _get(url: str, headers: dict[str, str], form: bytes | None = None) -> bytes:
    return _send(url, headers, form, "GET" if form is None else "POST")


def _send(url: str, headers: dict[str, str], content: bytes | None, method: str = "") -> bytes:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is no URL")
    method = method or ("GET" if content is None else "PUT")
    request = urllib.request.Request(url, content, headers, method=method)  # noqa: S310 # see above
    with urllib.request.urlopen(request, timeout=REGISTRY_SECONDS) as answer:  # noqa: S310
        read: bytes = answer.read()
        return read
