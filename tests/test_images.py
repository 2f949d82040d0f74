"""`make images`: by a real engine, to a real registry; and what each image is good for."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import engine
import pytest
import test_overlays as overlays
import yaml
from conftest import Template, commit, git
from engine import BUILD_ARGS, docker
from projects import Generated, flavour, heed_interrupts, life, machine, restored
from pytest_copie.plugin import Copie
from test_docs import commands

pytestmark = [pytest.mark.project, pytest.mark.engine]
LAPTOP = pytest.mark.parametrize("built", [flavour("laptop")], indirect=True)
EVERY = pytest.mark.parametrize(
    "built", [flavour("laptop"), flavour("xgboost-regression")], indirect=True
)
# What a step or the server is allowed, and more than it needs.
HARDENED = ("--rm", "--read-only", "--tmpfs=/tmp", "--network=none", "--cap-drop=ALL")
SMALL = "register"
STOPPED = {130, -signal.SIGINT}
TEAM = "team"


@dataclass(frozen=True)
class Built:
    """A project of which `make images` has just built every image."""

    project: Generated
    made: list[dict[str, Any]]
    """What it printed as JSON."""

    @property
    def references(self) -> dict[str, str]:
        """Return the whole name of each image."""
        return {row["name"]: row["image"] for row in self.made}

    @property
    def base(self) -> str:
        """Return what all of them start from."""
        (base,) = {
            inspected(reference)["Config"]["Labels"]["org.opencontainers.image.base.name"]
            for reference in self.references.values()
        }
        return str(base)

    def holding(self, path: str) -> set[str]:
        """Return the images that hold a file."""
        found = set()
        for name, reference in self.references.items():
            listed = docker("run", *HARDENED, reference, "find", "/app", "-type", "f")
            if f"/app/{path}" in listed.splitlines():
                found.add(name)
        return found


@pytest.fixture(scope="module")
def built(
    request: pytest.FixtureRequest, template: Template, copie_session: Copie
) -> Iterator[Built]:
    """Build every image of a flavour under tags that no image has yet, and remove them all."""
    engine.require()
    with restored(life(request.param, template, copie_session).project) as project:
        project.edit("config/project.yaml", "epoch: 0", f"epoch: {time.time_ns()}")
        commit(project.path, "Tags of this test")
        _named.clear()
        yield Built(project, images(project))
        git(project.path, "reset", "--quiet", "--hard", "HEAD~1")
    docker("image", "rm", "--force", *(_named & there()))


@pytest.fixture
def project(built: Built) -> Iterator[Generated]:
    """Give the project to a test that changes it."""
    with restored(built.project) as project:
        yield project


# Every image that a test has named, to be removed in the end.
_named: set[str] = set()


def there() -> set[str]:
    """Return the names of all images that the engine has."""
    return set(docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split())


def images(project: Generated, *arguments: str, **environment: str) -> list[dict[str, Any]]:
    """Return what `make images JSON=1` prints."""
    done = project.make("images", "JSON=1", *arguments, **environment).succeeded()
    listed: list[dict[str, Any]] = json.loads(done.out)
    _named.update(row["image"] for row in listed)
    return listed


def in_state(listed: list[dict[str, Any]], state: str) -> set[str]:
    """Return the names of the images in a state."""
    return {row["name"] for row in listed if row["state"] == state}


def configure(project: Generated, **changes: Any) -> None:
    """Change the section `images` of config/project.yaml."""
    path = project.path / "config/project.yaml"
    config = yaml.safe_load(path.read_text("utf-8"))
    config["images"] |= changes
    path.write_text(yaml.safe_dump(config), encoding="utf-8")


def push_to(project: Generated, address: str) -> None:
    """Give the environment dev a registry."""
    path = project.path / "config/environments/dev.yaml"
    text = re.sub(r"registry: .*", f"registry: {address}/{TEAM}", path.read_text("utf-8"))
    path.write_text(text, encoding="utf-8")


def inspected(reference: str) -> dict[str, Any]:
    """Return what the engine knows of an image."""
    (found,) = json.loads(docker("image", "inspect", reference))
    details: dict[str, Any] = found
    return details


@EVERY
def test_builds_what_is_missing(built: Built) -> None:
    steps = {path.parent.name for path in built.project.path.glob("steps/*/component.py")}
    log = {"payloads"} & {
        path.parent.name for path in built.project.path.glob("platform/*/Dockerfile")
    }
    assert in_state(built.made, "built") == steps | {"serving"} | log
    assert all(row["bytes"] > 0 for row in built.made)
    done = built.project.make("images").succeeded()
    assert "built" not in done.out
    assert done.out.count("present") == len(built.made)


@EVERY
def test_an_edit_builds_what_imports_it(built: Built, project: Generated) -> None:
    """One line of the model's module, and nothing is built by a look at what is missing."""
    path = project.package / "model.py"
    importers = built.holding(path.relative_to(project.path).as_posix())
    assert importers
    assert importers < set(built.references)
    path.write_text(path.read_text("utf-8") + "# Changed\n", encoding="utf-8")
    for _ in range(2):
        assert in_state(images(project, "CHECK=1"), "missing") == importers
    assert project.make("images", "CHECK=1").succeeded().out.count("missing") > len(importers)
    assert in_state(images(project), "built") == importers
    assert in_state(images(project, f"IMAGE=train,{SMALL}"), "present") == {"train", SMALL}


@EVERY
def test_the_server_does_its_work(built: Built) -> None:
    """It serves the model of the first run; of the steps, tests/test_docker_runner.py tells.

    Nothing can be written but /tmp, there is no network, and no right.
    """
    record = max(built.project.path.glob("artifacts/models/*/record.json"))
    answers(built.references["serving"], record.parent)


def answers(reference: str, model: Path) -> None:
    """Hold the server's container to an answer over HTTP, from inside: there is no network."""
    options = (*HARDENED, "--detach", f"--volume={model}:/mnt/models:ro")
    container = docker("run", *options, reference).strip()
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/v2/health/ready').read())"
    try:
        deadline = time.monotonic() + engine.TIMEOUT
        while True:
            done = subprocess.run(
                ["docker", "exec", container, "python", "-c", ask],
                check=False,
                capture_output=True,
                text=True,
            )
            if done.returncode == 0:
                break
            assert time.monotonic() < deadline, done.stderr + docker("logs", container)
            time.sleep(0.2)
        assert "true" in done.stdout.lower()
    finally:
        docker("rm", "--force", container)


@LAPTOP
def test_the_server_as_it_is_described(built: Built, project: Generated) -> None:
    """With the user, rights, files, limits and probes of its overlay: asked, killed, started."""
    folder = max(project.path.glob("artifacts/models/*/record.json")).parent
    sha256 = json.loads((folder / "record.json").read_text("utf-8"))["sha256"]
    overlays.release(project.path, "dev", sha256=sha256)
    described = overlays.container(overlays.built(project.path, "dev"))
    options = ["--network=none", f"--volume={folder}:/mnt/models:ro", *as_options(described)]
    reference = built.references["serving"]
    instances = json.loads((folder / "sample.json").read_text("utf-8"))
    predict = ("v1/models/my-model:predict", instances)
    container = docker("run", "--detach", *options, reference).strip()
    try:
        until_probed(container, described["startupProbe"])
        first = inside(container, *predict)
        assert len(first["predictions"]) == len(instances["instances"])
        for probe in ("readinessProbe", "livenessProbe"):
            inside(container, described[probe]["httpGet"]["path"])
        docker("kill", container)
        docker("start", container)
        until_probed(container, described["startupProbe"])
        assert inside(container, *predict) == first
        docker("stop", "--time=45", container)
        (state,) = json.loads(docker("inspect", "--format", "[{{json .State}}]", container))
        assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    finally:
        docker("rm", "--force", container)
    other = [option.replace(sha256, "0" * 64) for option in options]
    refused = subprocess.run(
        ["docker", "run", "--rm", *other, reference], check=False, capture_output=True, text=True
    )
    assert refused.returncode == 1
    assert "MODEL_SHA256" in refused.stderr


def as_options(described: dict[str, Any]) -> list[str]:
    """Say to docker what a container of Kubernetes is to be."""
    security, limits = described["securityContext"], described["resources"]["limits"]
    assert security["runAsNonRoot"]
    return [
        f"--user={security['runAsUser']}",
        f"--read-only={str(security['readOnlyRootFilesystem']).lower()}",
        f"--security-opt=no-new-privileges={str(not security['allowPrivilegeEscalation']).lower()}",
        *(f"--cap-drop={right}" for right in security["capabilities"]["drop"]),
        *(f"--tmpfs={mount['mountPath']}" for mount in described["volumeMounts"]),
        *(f"--env={each['name']}={each['value']}" for each in described["env"]),
        f"--memory={limits['memory'].removesuffix('i').lower()}",
        f"--cpus={limits['cpu']}",
    ]


def inside(container: str, path: str, body: object = None) -> dict[str, Any]:
    """Ask a server from inside its container, where there is no network, and return the answer."""
    code = (
        "import sys, urllib.request as u; body = sys.stdin.buffer.read() or None; "
        f"r = u.Request('http://127.0.0.1:8080/{path.lstrip('/')}', body); "
        "print(u.urlopen(r, timeout=10).read().decode())"
    )
    given = json.dumps(body) if body else ""
    answer: dict[str, Any] = json.loads(
        docker("exec", "--interactive", container, "python", "-c", code, given=given)
    )
    return answer


def until_probed(container: str, probe: dict[str, Any]) -> None:
    """Wait until a probe succeeds, as long as it allows."""
    deadline = time.monotonic() + probe["periodSeconds"] * probe["failureThreshold"]
    while True:
        try:
            inside(container, probe["httpGet"]["path"])
        except AssertionError:
            assert time.monotonic() < deadline, docker("logs", container)
            time.sleep(probe["periodSeconds"])
        else:
            return


@EVERY
def test_what_is_in_an_image(built: Built) -> None:
    """What it needs to run, and nothing to build or to install with; it says what it is."""
    look = (
        "id -u; for p in uv gcc cc g++ make; do command -v $p; done; "
        "find / -xdev \\( -path '*/.cache/*' -o -name 'uv*' -path '/usr/*' \\) -type f; "
        "touch /app/x /opt/venv/x 2>/dev/null && echo writable; true"
    )
    head = git(built.project.path, "rev-parse", "HEAD").strip()
    for name, reference in built.references.items():
        assert docker("run", *HARDENED, reference, "sh", "-c", look) == "10001\n", name
        labels = inspected(reference)["Config"]["Labels"]
        repository, _, tag = reference.partition(":")
        assert labels["org.opencontainers.image.title"] == repository
        assert labels["org.opencontainers.image.version"] == tag
        assert labels["org.opencontainers.image.revision"] == head
    assert built.base.startswith("python:3.11")
    (serving,) = (row for row in built.made if row["name"] == "serving")
    assert max(row["bytes"] for row in built.made) == serving["bytes"]


@LAPTOP
def test_its_page(built: Built) -> None:
    """Its commands run as they stand there, and build nothing again."""
    typed = commands(built.project.path / "docs/images.md")
    done = subprocess.run(
        ["bash", "-euxc", typed],
        cwd=built.project.path,
        env=machine(),
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("present") == typed.count("make images") * len(built.made)


@LAPTOP
def test_another_base(built: Built, project: Generated) -> None:
    """One image starts from another base; the tags of the others stay."""
    mirror = f"mirrored-base:{time.time_ns()}"
    assert engine.build(f"FROM {built.base}\nRUN touch /mirrored\nUSER 4242\n", mirror)
    try:
        configure(project, base_images={SMALL: mirror})
        made = images(project)
        assert in_state(made, "built") == {SMALL}
        (reference,) = (row["image"] for row in made if row["name"] == SMALL)
        docker("run", *HARDENED, reference, "test", "-e", "/mirrored")
        docker("image", "rm", reference)
    finally:
        docker("image", "rm", mirror)


@LAPTOP
def test_a_base_that_cannot_be_had(project: Generated) -> None:
    """The setting is named, once for all images."""
    configure(project, base_image="registry.invalid/python:3.11")
    done = project.make("images").failed("registry.invalid/python:3.11", "images.base_image")
    assert done.err.count("images.base_image") == 1
    configure(project, base_images={"trian": "x"})
    project.make("images").failed("trian", "train")


@LAPTOP
def test_a_base_without_pip(built: Built, project: Generated) -> None:
    """What it lacks is said."""
    bare = f"bare-base:{time.time_ns()}"
    assert engine.build(f'FROM {built.base}\nRUN rm "$(command -v pip)"\n', bare)
    try:
        configure(project, base_image=bare)
        project.make("images", f"IMAGE={SMALL}").failed(bare, "Python 3.11", "pip")
    finally:
        docker("image", "rm", bare)


@LAPTOP
def test_system_packages(built: Built, project: Generated) -> None:
    """What is in apt.txt is installed; comments and empty lines are none; no file is no package."""
    if not engine.build(f"FROM {built.base}\nRUN apt-get update\n"):
        engine.missing("a container of this engine reaches no Debian mirror: see BUILD_ARGS")
    apt = project.path / f"steps/{SMALL}/apt.txt"
    apt.write_text("# A comment\n\ntree  # one more\n", encoding="utf-8")
    (row,) = images(project, f"IMAGE={SMALL}")
    assert row["state"] == "built"
    assert "register" in docker("run", *HARDENED, row["image"], "tree", "/app/steps")
    docker("run", *HARDENED, row["image"], "sh", "-c", "! ls /var/lib/apt/lists/*Packages*")
    apt.unlink()
    assert images(project, f"IMAGE={SMALL}")[0]["state"] == "built"


@LAPTOP
def test_push(project: Generated, tmp_path: Path) -> None:
    """CI pushes what the registry lacks, once; with that, nobody has to build it."""
    with engine.registry(tmp_path) as address:
        push_to(project, address)
        mine = ("ENV=dev", f"IMAGE={SMALL}")
        (row,) = images(project, *mine, "CHECK=1")
        assert row["state"] == "missing"
        assert row["image"].startswith(f"{address}/{TEAM}/")
        project.make("images", *mine, "PUSH=1", CI=None).failed("only CI", "push_outside_ci")
        assert images(project, *mine)[0]["state"] == "built"
        assert images(project, *mine)[0]["state"] == "local"
        (pushed,) = images(project, *mine, "PUSH=1", CI="1")
        assert pushed["state"] == "pushed"
        assert pushed["seconds"] > 0
        docker("image", "rm", row["image"])
        for arguments in ((*mine, "CHECK=1"), mine, (*mine, "PUSH=1")):
            (there,) = images(project, *arguments, CI="1")
            assert (there["state"], there["bytes"]) == ("present", None)
            assert there["image"] == row["image"]
        # Allowed to everybody, by a setting that makes no other tag.
        configure(project, push_outside_ci=True)
        (there,) = images(project, *mine, "PUSH=1", CI="")
        assert (there["state"], there["image"]) == ("present", row["image"])
        docker("pull", "--quiet", row["image"])
        docker("image", "rm", row["image"])
    project.make("images", *mine).failed(address, "config/environments", "ENV=local")


@LAPTOP
def test_a_registry_that_refuses(project: Generated) -> None:
    """Who may not look builds, and is told so; who may not push is told how to log in."""
    with engine.served(engine.Refusing) as address:
        push_to(project, address)
        mine = ("ENV=dev", f"IMAGE={SMALL}")
        done = project.make("images", *mine, "CHECK=1", "JSON=1").succeeded()
        assert json.loads(done.out)[0]["state"] == "unknown"
        assert f"docker login {address}" in done.err
        assert "built" in project.make("images", *mine).succeeded().out
        project.make("images", *mine, "PUSH=1", CI="1").failed(
            "no ducks here", f"docker login {address}", f"artifacts/images/{SMALL}.log"
        )


@LAPTOP
def test_a_registry_that_is_not_there(project: Generated) -> None:
    push_to(project, "registry.invalid")
    mine = ("ENV=dev", f"IMAGE={SMALL}")
    project.make("images", *mine).failed("registry.invalid", "config/environments")
    project.make("images", "PUSH=1", CI="1").failed("local", "registry", "ENV=")
    project.make("images", "ENV=prd").failed("prd", "staging")


@LAPTOP
def test_no_engine(built: Built, tmp_path: Path) -> None:
    """Neither is installed, or it does not answer, or there is no such engine."""
    here = built.project
    for folder in machine()["PATH"].split(os.pathsep):
        for program in Path(folder).glob("*"):
            link = tmp_path / program.name
            if program.name not in ("docker", "podman") and not link.is_symlink():
                link.symlink_to(program)
    here.make("images", PATH=str(tmp_path)).failed("docker", "podman", "PATH")
    here.make("images", "ENGINE=podman", PATH=str(tmp_path)).failed("podman", "PATH")
    here.make("images", "ENGINE=rkt").failed("rkt", "docker or podman")
    for host in (f"tcp://127.0.0.1:{engine.free_port()}", f"unix://{tmp_path}/none.sock"):
        here.make("images", "ENGINE=docker", DOCKER_HOST=host).failed(host, "DOCKER_HOST")


@LAPTOP
def test_the_engine_stops(project: Generated) -> None:
    """In the middle of a build; afterwards it goes on."""
    configure(project, epoch=time.time_ns())
    passage = engine.Passage()
    log = project.path / f"artifacts/images/{SMALL}.log"
    log.unlink(missing_ok=True)
    uncached = f"BUILD_ARGS={BUILD_ARGS} --no-cache"
    running = started(project, f"IMAGE={SMALL}", uncached, DOCKER_HOST=passage.host)
    deadline = time.monotonic() + engine.TIMEOUT
    while not (log.exists() and "pip install" in log.read_text("utf-8")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    passage.cut()
    _, said = running.communicate(timeout=engine.TIMEOUT)
    assert running.returncode != 0
    assert "Traceback" not in said
    assert "does not answer" in said
    assert in_state(images(project, f"IMAGE={SMALL}"), "built") == {SMALL}


@LAPTOP
def test_interrupted(project: Generated) -> None:
    """Nothing goes on, and what is missing is built the next time."""
    configure(project, epoch=time.time_ns())
    logs = project.path / "artifacts/images"
    shutil.rmtree(logs)
    arguments = f"{BUILD_ARGS} --no-cache"
    done = project.interrupt(
        "images",
        lambda: any("pip install" in log.read_text("utf-8") for log in logs.glob("*.log")),
        BUILD_ARGS=arguments,
    )
    assert done.code in {*STOPPED, 2}, done.said
    assert "Traceback" not in done.said
    assert "Stopped" in done.out
    assert in_state(images(project, "CHECK=1"), "present") == set()


@LAPTOP
def test_two_at_once(project: Generated) -> None:
    configure(project, epoch=time.time_ns())
    both = [started(project, f"IMAGE={SMALL}", "JSON=1") for _ in range(2)]
    for running in both:
        out, said = running.communicate(timeout=engine.TIMEOUT)
        assert running.returncode == 0, said
        assert json.loads(out)[0]["state"] in ("built", "present")
    assert images(project, f"IMAGE={SMALL}")[0]["state"] == "present"


@LAPTOP
def test_what_cannot_be_built(project: Generated) -> None:
    """The reason comes first, then the end of the log; the others are built all the same."""
    project.make("images", "IMAGE=trian").failed("trian", "train")
    project.make("images", "BUILD_ARGS=--label='a").failed("BUILD_ARGS", "--label='a")
    dockerfile = project.path / f"steps/{SMALL}/Dockerfile"
    text = dockerfile.read_text("utf-8")
    dockerfile.unlink()
    project.make("images").failed(f"steps/{SMALL}/Dockerfile", "git checkout")
    dockerfile.write_text(text + "RUN echo no ducks >&2; exit 7\n", encoding="utf-8")
    done = project.make("images").failed(
        f"{SMALL} failed: no ducks", f"artifacts/images/{SMALL}.log"
    )
    assert done.out.count("present") >= 2
    (project.path / "uv.lock").unlink()
    project.make("images", UV_OFFLINE="1").failed("make setup")


class Company(BaseHTTPRequestHandler):
    """A company's index: it lets in who knows the password, and has what the public one has."""

    public = ""
    user, password = "duck", "s3cret-p@ss/word"
    asked: list[str] = []  # noqa: RUF012 # One for all requests, emptied by the test.

    def do_GET(self) -> None:
        """Send whoever may come in on to the public index."""
        known = b64encode(f"{self.user}:{self.password}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {known}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="company"')
        else:
            self.asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", self.public + self.path.removeprefix("/simple"))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@LAPTOP
def test_a_companys_index(
    built: Built, project: Generated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each package comes from it, and its password is in no image, log or history."""
    lock = (project.path / "uv.lock").read_text("utf-8")
    found = re.search(r'registry = "(http[^"]+)"', lock)
    assert found
    monkeypatch.setattr(Company, "public", found[1].rstrip("/"))
    # Of a base of its own, nothing has been built before, nor is being built by another test.
    fresh = f"fresh-base:{time.time_ns()}"
    assert engine.build(f"FROM {built.base}\nRUN touch /{time.time_ns()}\n", fresh)
    configure(project, base_image=fresh)
    # Installs what an earlier test has touched, so that below it is the build that asks.
    project.make("check").succeeded()
    Company.asked.clear()
    try:
        with engine.served(Company) as address:
            index = f"http://duck:s3cret-p%40ss%2Fword@{address}/simple"
            network = f"BUILD_ARGS={BUILD_ARGS} --network=host"
            (row,) = images(project, f"IMAGE={SMALL}", network, UV_DEFAULT_INDEX=index)
    finally:
        docker("image", "rm", fresh)
    assert row["state"] == "built"
    assert {"/simple/uv/", "/simple/pydantic/"} <= set(Company.asked)
    archive = tmp_path / "image.tar"
    docker("save", "--output", str(archive), row["image"])
    log = project.path / f"artifacts/images/{SMALL}.log"
    history = docker("history", "--no-trunc", row["image"])
    for kept in (archive.read_bytes(), log.read_bytes(), history.encode()):
        assert b"s3cret" not in kept
    assert address.encode() not in archive.read_bytes()


@dataclass(frozen=True)
class Told:
    """What a machine and a project say of indexes, and what a build is to be given of it."""

    environment: dict[str, str | None]
    uv: list[tuple[str, bool]]
    """Each URL, and whether it takes the place of the public index."""
    pip: list[str]
    project: str = ""
    """Lines for pyproject.toml."""
    netrc: str = ""


NAMED = """
[[tool.uv.index]]
name = "our-own"
url = "https://index.example.com/simple"
default = {default}
"""
TOLD = {
    "nothing": Told({"UV_INDEX": "file:///wheels"}, [], []),
    "uv": Told(
        {"UV_DEFAULT_INDEX": "https://a.example.com/s", "UV_INDEX": "b=https://b.example.com/s"},
        [("https://b.example.com/s", False), ("https://a.example.com/s", True)],
        ["index-url = https://a.example.com/s"],
    ),
    "older names": Told(
        {
            "UV_INDEX_URL": "https://a.example.com/s",
            "UV_EXTRA_INDEX_URL": "https://b.example.com/s",
        },
        [("https://b.example.com/s", False), ("https://a.example.com/s", True)],
        ["index-url = https://a.example.com/s"],
    ),
    "pip": Told(
        {
            "PIP_INDEX_URL": "https://a.example.com/s",
            "PIP_EXTRA_INDEX_URL": "https://b.example.com/s",
        },
        [("https://a.example.com/s", True)],
        ["index-url = https://a.example.com/s", "extra-index-url = https://b.example.com/s"],
    ),
    "project, with a password": Told(
        {"UV_INDEX_OUR_OWN_USERNAME": "duck", "UV_INDEX_OUR_OWN_PASSWORD": "p@ss/word"},
        [("https://duck:p%40ss%2Fword@index.example.com/simple", True)],
        ["index-url = https://duck:p%40ss%2Fword@index.example.com/simple"],
        project=NAMED.format(default="true"),
    ),
    "project, beside the public one": Told(
        {}, [("https://index.example.com/simple", False)], [], project=NAMED.format(default="false")
    ),
    "a password of the machine": Told(
        {"UV_INDEX_URL": "https://a.example.com:8443/s"},
        [("https://duck:p%40ss@a.example.com:8443/s", True)],
        ["index-url = https://duck:p%40ss@a.example.com:8443/s"],
        netrc="machine a.example.com login duck password p@ss",
    ),
}


@LAPTOP
@pytest.mark.parametrize("case", TOLD)
def test_what_a_build_is_told_of_indexes(project: Generated, case: str, tmp_path: Path) -> None:
    """By the settings of uv and of pip; where nothing is known, the base image's own hold."""
    told = TOLD[case]
    netrc = tmp_path / "netrc"
    netrc.write_text(told.netrc, encoding="utf-8")
    with (project.path / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write(told.project)
    code = f"""
import json, tomllib
from pathlib import Path
from tools import package_index
made = package_index.secrets(Path({str(tmp_path)!r}))
uv = tomllib.loads(made["uv"].read_text())["index"] if "uv" in made else []
pip = made["pip"].read_text().splitlines()[1:] if "pip" in made else []
print(json.dumps([[[index["url"], index.get("default", False)] for index in uv], pip]))
"""
    unset = {name: None for name in os.environ if re.match("(UV|PIP)_.*INDEX", name)}
    given = {**unset, **told.environment, "NETRC": str(netrc)}
    done = project.python(code, **given).succeeded()
    assert json.loads(done.out) == [[list(index) for index in told.uv], told.pip]


@LAPTOP
def test_a_netrc_that_cannot_be_read(project: Generated, tmp_path: Path) -> None:
    """The file is named before anything is built."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine a.example.com ducks", encoding="utf-8")
    configure(project, epoch=time.time_ns())
    given = {"NETRC": str(netrc), "PIP_INDEX_URL": "https://a.example.com/simple"}
    project.make("images", f"IMAGE={SMALL}", **given).failed(str(netrc))


def started(project: Generated, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """Start `make images`."""
    return subprocess.Popen(
        ["make", "images", *arguments],
        cwd=project.path,
        env={**machine(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
