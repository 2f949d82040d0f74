"""Run, release, promote, roll back: what a project's history of releases says, and is refused."""

import fcntl
import json
import re
import shutil
import subprocess
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import boto3
import engine
import pytest
import yaml
from conftest import Template, commit, git
from engine import publish
from moto.server import ThreadedMotoServer
from projects import Done, Generated, flavour, life, machine, restored
from pytest_copie.plugin import Copie
from test_automation import Played
from test_docs import commands

# What `oras cp` does with an image without files: its manifest stays the same byte for byte.
ORAS = """
from urllib.request import Request, urlopen
source, target = sys.argv[-2:]
(place, _, digest), (new, _, tag) = source.partition("@"), target.rpartition(":")
at, to = (f"http://{each.replace('/', '/v2/', 1)}" for each in (place, new))
kind = "application/vnd.oci.image.manifest.v1+json"
manifest = urlopen(Request(f"{at}/manifests/{digest}", headers={"Accept": kind})).read()
config = json.loads(manifest)["config"]["digest"]
where = urlopen(Request(f"{to}/blobs/uploads/", b"", method="POST")).headers["Location"]
blob = urlopen(f"{at}/blobs/{config}").read()
for url, content, what in (
    (f"{where}&digest={config}", blob, "application/octet-stream"),
    (f"{to}/manifests/{tag}", manifest, kind),
):
    urlopen(Request(url, content, {"Content-Type": what}, method="PUT"))
"""
pytestmark = pytest.mark.project
LAPTOP = pytest.mark.parametrize("site", [flavour("laptop")], indirect=True)
ENVIRONMENTS = ["dev", "staging", "prod"]
REPOSITORY = "team/my-model-serving"
HOOK = "#!/bin/sh\necho no ducks here\nexit 1\n"


@dataclass(frozen=True)
class Site:
    """A project whose environments have model stores, and a registry."""

    project: Generated
    registry: str
    """The registry's address."""
    stores: Path

    def configure(self, env: str, **values: str) -> None:
        """Set keys in the file of an environment, and commit."""
        file = self.project.path / f"config/environments/{env}.yaml"
        text = file.read_text("utf-8")
        for key, value in values.items():
            text = re.sub(rf"^{key}:.*", f"{key}: {value}", text, flags=re.MULTILINE)
        file.write_text(text, encoding="utf-8")
        commit(self.project.path, "Configure")

    def mount(self, env: str) -> None:
        """Give an environment the volume on which the model stores are."""
        volume = f"every_step:\n  volumes:\n    - {{claim: stores, mount: {self.stores}}}"
        self.project.edit(f"config/environments/{env}.yaml", "every_step:", volume)
        commit(self.project.path, "Mount")

    @property
    def image(self) -> str:
        """Return the tag of the checkout's server."""
        code = "from tools.images import tag; print(tag('serving'))"
        return self.project.python(code).succeeded().out.strip()

    def push(self) -> str:
        """Give the registry the image of the checkout's server, and return its digest."""
        tag = self.image
        return publish(self.registry, REPOSITORY, tag, note=tag)

    def make(self, *arguments: str) -> Done:
        """Run make."""
        return self.project.make(*arguments)

    def release(self, env: str, *arguments: str) -> dict[str, str]:
        """Release, and return what the release says."""
        self.make("release", f"ENV={env}", *arguments).succeeded()
        return self.released(env)

    def released(self, env: str, commit: str = "HEAD") -> dict[str, str]:
        """Return what a commit says is released."""
        file = f"serving/deploy/overlays/{env}/release.yaml"
        text = git(self.project.path, "show", f"{commit}:{file}")
        data: dict[str, str] = yaml.safe_load(text)["data"]
        assert all(isinstance(value, str) for value in data.values())
        return data

    def typed(self, page: str) -> str:
        """Return what a page's commands print, run as they stand there."""
        done = subprocess.run(
            ["bash", "-euxc", commands(self.project.path / page)],
            cwd=self.project.path,
            env=machine(),
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def retrain(self, regularisation: float) -> str:
        """Train another model, and return its id."""
        file = self.project.path / "config/project.yaml"
        text = file.read_text("utf-8")
        changed = re.sub("regularisation: .*", f"regularisation: {regularisation}", text)
        file.write_text(changed, encoding="utf-8")
        commit(self.project.path, "Train otherwise")
        self.make("run").succeeded()
        return trained(self.project)

    @property
    def head(self) -> str:
        """Return the commit that is checked out."""
        return git(self.project.path, "rev-parse", "HEAD")

    def nothing_happened(self, head: str) -> None:
        """Hold the checkout to a commit, without a trace of a release."""
        assert self.head == head
        assert git(self.project.path, "status", "--porcelain", "-uall") == ""


def trained(project: Generated) -> str:
    """Return the id of the model that the newest run made."""
    model: str = project.last_run["steps"]["register"]["parameters"]["Output"]
    return model


def without_hooks(project: Generated) -> None:
    """Have a commit run no hook: `make check` is that of other tests."""
    git(project.path, "config", "core.hooksPath", ".git/none")


@pytest.fixture
def site(
    request: pytest.FixtureRequest, template: Template, copie_session: Copie, tmp_path: Path
) -> Iterator[Site]:
    """Give the project of a flavour a registry, and model stores on a volume."""
    with (
        restored(life(request.param, template, copie_session).project) as project,
        engine.registry(tmp_path) as address,
    ):
        without_hooks(project)
        made = Site(project, address, tmp_path / "stores")
        for env in ENVIRONMENTS:
            store = made.stores / env / "models"
            made.configure(env, registry=f"{address}/team", model_store=str(store))
            made.mount(env)
        project.make("run").succeeded()
        yield made
        git(project.path, "config", "--unset", "core.hooksPath")


@LAPTOP
def test_the_life_of_a_model(site: Site) -> None:
    """From run to dev, staging, prod; a second one as the page says, and back; all is in git."""
    first, run = trained(site.project), site.project.last_run["run_id"]
    digest = site.push()
    released = site.release("dev", f"RUN={run}", 'REASON=It\'s "good" [so far]')
    assert released["model"] == first == released["sha256"][:12]
    assert released["image"] == f"{site.registry}/{REPOSITORY}@{digest}"
    assert released["model_uri"] == f"pvc://stores/dev/models/{first}"
    assert released["run"] == run
    assert released["reason"] == 'It\'s "good" [so far]'
    assert json.loads(released["metrics"]) == site.project.last_run["metrics"]
    changed = git(site.project.path, "show", "--format=", "--name-only").split()
    assert changed == ["serving/deploy/overlays/dev/release.yaml"]
    record = json.loads((site.stores / f"dev/models/{first}/record.json").read_text("utf-8"))
    assert record["uri"] == str(site.stores / f"dev/models/{first}/model")
    site.project.edit("serving/predictor.py", '"""The model, its', '"""This model, its')
    commit(site.project.path, "Other code")
    for env in ("staging", "prod"):
        assert site.release(env)["image"] == released["image"]
    assert "already released" in site.make("release", "ENV=prod").succeeded().out

    second, other = site.retrain(2 + time.time() % 1), site.push()
    assert other != digest
    typed = site.typed("docs/releases.md")
    assert f"before: {first}" in typed
    assert f"{second} is released in prod, instead of {first}" in typed
    assert site.released("prod", "HEAD~")["image"].endswith(other)
    back = site.released("prod")
    assert (back["model"], back["image"]) == (first, released["image"])
    assert (back["reason"], back["takes_back"]) == ("complaints from Leeds", second)
    site.make("rollback", "ENV=prod").failed("first release in prod")

    subjects = git(site.project.path, "log", "--format=%s", "--", "serving/deploy").splitlines()
    assert subjects[:3] == [
        f"Roll back prod to {first}",
        f"Release {second} in prod",
        f"Release {second} in staging",
    ]
    listed = json.loads(site.make("releases", "JSON=1").succeeded().out)["environments"]
    assert [(row["environment"], row["model"]) for row in listed] == [
        ("local", ""),
        ("dev", second),
        ("staging", second),
        ("prod", first),
    ]
    past = json.loads(site.make("releases", "ENV=prod", "JSON=1").succeeded().out)["history"]
    assert [row["model"] for row in past] == [first, second, first]
    assert git(site.project.path, "status", "--porcelain") == ""


@LAPTOP
def test_rolling_back_again_goes_further_back(site: Site) -> None:
    """What was taken back is never what a rollback leads to, nor what is promoted."""
    site.push()
    first = site.release("dev", f"RUN={trained(site.project)}")["model"]
    second, third = site.retrain(2.0), site.retrain(3.0)
    for model in (second, third):
        site.release("dev", f"RUN={model}")
    for expected in (second, first):
        site.make("rollback", "ENV=dev").succeeded()
        assert site.released("dev")["model"] == expected
    done = site.make("release", "ENV=staging", f"RUN={third}")
    done.failed(third, "taken back in dev", f"RUN={third}", first)
    site.release("dev", f"RUN={third}")
    site.make("rollback", "ENV=dev").succeeded()
    assert site.released("dev")["model"] == first
    git(site.project.path, "rm", "--quiet", "serving/deploy/overlays/dev/release.yaml")
    commit(site.project.path, "Nothing in dev any more")
    site.make("rollback", "ENV=dev").failed("nothing is released in dev")
    site.make("release", "ENV=staging").failed("nothing is released in dev")


@LAPTOP
def test_out_of_order(site: Site) -> None:
    """An environment takes what the one before has released; by whatever name it is asked."""
    site.push()
    head = site.head
    site.make("release", "ENV=prod").failed("staging", "ENV=staging` comes first")
    site.make("release", "ENV=staging").failed("dev", "ENV=dev` comes first")
    site.make("release", "ENV=dev", "RUN=nothing").failed("RUN='nothing'", "registered model")
    site.make("release", "ENV=dev", "RUN=../x").failed("../x")
    folder = site.project.path / "artifacts/runs/29991231-000000-000"
    folder.mkdir()
    (folder / "run.json").write_text('{"steps": {}}', encoding="utf-8")
    try:
        done = site.make("release", "ENV=dev", f"RUN={folder.name}")
        done.failed(folder.name, "registered no model")
    finally:
        shutil.rmtree(folder)
    site.make("rollback", "ENV=dev").failed("nothing is released in dev")
    site.make("rollback").failed("local", "no history")
    site.make("releases", "ENV=local").failed("local", "no history")
    site.nothing_happened(head)
    site.release("dev")
    other = site.retrain(2.0)
    site.make("release", "ENV=staging", f"RUN={other}").failed(other, "not released in dev")
    site.make("release", "ENV=staging", "RUN=../x").failed("../x")


@LAPTOP
def test_an_image_that_is_not_there(site: Site) -> None:
    """It is neither built nor guessed: what to do is said, and nothing is copied."""
    head = site.head
    site.make("release", "ENV=dev").failed(f"{REPOSITORY}:", "make images ENV=dev", "PUSH=1")
    assert not site.stores.exists()
    site.nothing_happened(head)
    site.configure("dev", registry='""')
    site.make("release", "ENV=dev").failed("dev.yaml", "`registry`")
    site.configure("dev", registry="registry.invalid/team")
    site.make("release", "ENV=dev").failed("registry.invalid", "cannot be reached")
    site.configure("dev", registry="no.duck:s/team")
    site.make("release", "ENV=dev").failed("no.duck:s")


@LAPTOP
def test_what_is_released_is_kept(site: Site) -> None:
    """Where Terraform's registries clean up, the released image has a tag that they keep."""
    (site.project.path / "infra/modules").mkdir(parents=True)
    digest = site.push()
    site.release("dev")
    site.retrain(2.0)
    site.release("dev")
    code = "from tools import published; print(published.cleaned_up('ghcr.io/team/x:1'))"
    assert site.project.python(code).succeeded().out.strip() == "False"
    tag = f"released-{digest.partition(':')[2][:16]}"
    kind = "application/vnd.oci.image.manifest.v1+json"
    url = f"http://{site.registry}/v2/{REPOSITORY}/manifests/{tag}"
    request = urllib.request.Request(url, headers={"Accept": kind})
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        assert engine.sha256(answer.read()) == digest


class ReadOnly(engine.Refusing):
    """A registry that has one image, and takes no tag."""

    def do_GET(self) -> None:  # noqa: N802
        """Answer with the image, by its digest."""
        self.send_response(404 if "released-" in self.path else 200)
        self.end_headers()
        self.wfile.write(b"{}")

    def do_PUT(self) -> None:  # noqa: N802
        """Refuse a tag."""
        self.send_response(403)
        self.end_headers()


@LAPTOP
def test_a_registry_that_takes_no_tag(site: Site) -> None:
    with engine.served(ReadOnly) as address:
        code = f"""
from runtime.errors import ProjectError
from tools import published
try:
    published.keep("{address}/team/x@sha256:{"0" * 64}")
except ProjectError as error:
    print(error)
"""
        said = site.project.python(code).succeeded().out
    assert f"the registry {address} refuses {address}/team/x:released-{'0' * 16} (403)" in said
    assert "as somebody who may tag there" in said


@LAPTOP
def test_another_registry(site: Site, tmp_path: Path) -> None:
    """The image that was tried is copied there, by its digest; it is not built again."""
    digest = site.push()
    site.release("dev")
    tried = f"{site.registry}/{REPOSITORY}@{digest}"
    (tmp_path / "other").mkdir()
    with engine.registry(tmp_path / "other") as address:
        site.configure("staging", registry=f"{address}/team")
        head = site.head
        refused = site.make("release", "ENV=staging")
        refused.failed("install oras", f"skopeo copy --all --preserve-digests docker://{tried}")
        oras = Played(tmp_path / "programs", "oras").plays("sys.exit('Error: no ducks here')")
        refused = site.project.make("release", "ENV=staging", PATH=oras.path)
        refused.failed(tried, "no ducks here", f"log in to {site.registry}", address)
        # It says so, and has copied nothing.
        oras.plays("")
        refused = site.project.make("release", "ENV=staging", PATH=oras.path)
        refused.failed("could not be copied")
        site.nothing_happened(head)
        assert oras.told
        oras.plays(ORAS)
        done = site.project.make("propose-release", "ENV=staging", PATH=oras.path).succeeded()
        assert f"{address}/{REPOSITORY}@{digest}" in done.out
        target = f"{address}/{REPOSITORY}:{digest.partition(':')[2][:16]}"
        plain = ("--from-plain-http", "--to-plain-http")
        assert oras.told == [["cp", "--recursive", *plain, tried, target]]
        assert site.released("staging")["image"] == f"{address}/{REPOSITORY}@{digest}"
        # It is there: nothing is copied, and nothing is needed for that.
        assert site.release("prod")["image"] == tried
        assert "already released" in site.make("release", "ENV=staging").succeeded().out


@LAPTOP
def test_a_model_that_was_changed(site: Site) -> None:
    """Its bytes are compared where they come from, and where they went to."""
    model = trained(site.project)
    site.push()
    copied = shutil.copytree(site.project.path / "artifacts/models", site.stores / "local")
    site.configure("local", model_store=str(copied))
    head = site.head
    weights = copied / model / "model/pipeline.skops"
    good = weights.read_bytes()
    weights.write_bytes(good + b"x")
    site.make("release", "ENV=dev", f"RUN={model}").failed("SHA-256", str(copied), "remove")
    assert not (site.stores / "dev").exists()
    site.nothing_happened(head)
    weights.write_bytes(good)
    site.release("dev", f"RUN={model}")
    head = site.head
    (site.stores / f"dev/models/{model}/model/pipeline.skops").write_bytes(b"x")
    site.make("release", "ENV=staging").failed("SHA-256", str(site.stores / "dev/models"))
    again = ("release", "ENV=dev", f"RUN={model}")
    site.make(*again).failed("SHA-256", str(site.stores / "dev/models"))
    site.nothing_happened(head)
    shutil.rmtree(site.stores / f"dev/models/{model}")
    assert "already released" in site.make(*again).succeeded().out
    assert (site.stores / f"dev/models/{model}/record.json").exists()


@LAPTOP
def test_a_store_that_takes_nothing(site: Site) -> None:
    """The store and the reason are named; a folder that no cluster sees is no store for one."""
    site.push()
    site.stores.mkdir()
    (site.stores / "file").write_text("", encoding="utf-8")
    site.configure("dev", model_store=str(site.stores / "file/models"))
    head = site.head
    site.make("release", "ENV=dev").failed(str(site.stores / "file"), "cannot be")
    site.configure("staging", model_store="artifacts/staging")
    site.configure("dev", model_store="artifacts/dev")
    site.make("release", "ENV=dev").failed("artifacts/dev", "every_step.volumes", "s3://")
    assert git(site.project.path, "rev-parse", "HEAD~2") == head


@LAPTOP
def test_edited_by_hand(site: Site) -> None:
    """What is not committed is not overwritten; what is committed has to be a release."""
    site.push()
    site.release("dev")
    file = site.project.path / "serving/deploy/overlays/dev/release.yaml"
    good = file.read_text("utf-8")
    file.write_text(good.replace("reason:", "reason: not"), encoding="utf-8")
    for verb in ("release", "rollback"):
        site.make(verb, "ENV=dev").failed("edited by hand", "git restore")
    git(site.project.path, "add", "--all")
    site.make("release", "ENV=dev").failed("edited by hand")
    file.write_text(good.replace("  run:", "  rum:"), encoding="utf-8")
    commit(site.project.path, "By hand")
    site.make("release", "ENV=dev").failed("dev/release.yaml", "rum", "did you mean 'run'")
    cases = [
        ("\n  model: ", "\n  model: '000000000000' #", "model 000000000000"),
        ("@sha256:", ":latest #", "image"),
        ("metrics: ", "metrics: high #", "metrics"),
        ("\ndata:", "\nspec:", "no release"),
    ]
    site.project.python(
        f"""
from runtime.errors import ProjectError
from tools.released import Release
for old, new, word in {cases!r}:
    try:
        Release.from_yaml({good!r}.replace(old, new, 1), "release.yaml")
    except ProjectError as error:
        assert "release.yaml" in str(error) and word in str(error), error
    else:
        raise SystemExit(new)
"""
    ).succeeded()
    untracked = site.project.path / "serving/deploy/overlays/prod/release.yaml"
    untracked.write_text(good, encoding="utf-8")
    site.make("release", "ENV=prod").failed("prod/release.yaml", "edited by hand")


@LAPTOP
def test_only_the_release_is_committed(site: Site) -> None:
    """What is staged, changed or new beside it stays as it is."""
    site.push()
    site.project.edit("README.md", "# ", "# My ")
    site.project.edit("MODEL_CARD.md", "# ", "# My ")
    git(site.project.path, "add", "MODEL_CARD.md")
    (site.project.path / "new").write_text("", encoding="utf-8")
    before = git(site.project.path, "status", "--porcelain")
    site.release("dev")
    assert git(site.project.path, "status", "--porcelain") == before
    assert git(site.project.path, "show", "--format=", "--name-only").count("\n") == 1


@LAPTOP
def test_a_commit_that_is_refused(site: Site) -> None:
    """A team's hook says why, and the release before is what stands there."""
    site.push()
    hooks = site.project.path / ".git/none"
    hooks.mkdir(exist_ok=True)
    hook = hooks / "pre-commit"
    model = trained(site.project)
    try:
        for release in (1, 2):
            head = site.head
            hook.write_text(HOOK, encoding="utf-8")
            hook.chmod(0o755)
            done = site.make("release", "ENV=dev", f"RUN={model}")
            done.failed("no ducks here", "nothing was released")
            site.nothing_happened(head)
            hook.unlink()
            if release == 1:
                site.release("dev", f"RUN={model}")
                model = site.retrain(2.0)
    finally:
        shutil.rmtree(hooks)


@LAPTOP
def test_no_branch_to_commit_to(site: Site) -> None:
    """A detached HEAD, a merge under way, half a history: each is named with the way out."""
    site.push()
    site.release("dev")
    git(site.project.path, "checkout", "--quiet", "--detach")
    site.make("release", "ENV=staging").failed("no branch", "git switch")
    git(site.project.path, "checkout", "--quiet", "-")
    folder = site.project.path / ".git"
    for name, what in (("MERGE_HEAD", "a merge"), ("rebase-merge", "a rebase")):
        (folder / name).write_text(site.head, encoding="utf-8")
        site.make("rollback", "ENV=dev").failed(what, "abort")
        (folder / name).unlink()
    (folder / "shallow").write_text(site.head, encoding="utf-8")
    try:
        site.make("release", "ENV=staging").failed("--unshallow", "fetch-depth: 0")
    finally:
        (folder / "shallow").unlink()


@LAPTOP
def test_two_at_once(site: Site) -> None:
    """The second is told so; a commit in between, and nothing is written over it."""
    site.push()
    site.release("dev")
    with (site.project.path / ".git/release.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        site.make("release", "ENV=staging").failed("right now")
    head = site.head
    site.project.python(
        """
import subprocess
from tools import released
from runtime.errors import ProjectError
with released.turn("dev") as turn:
    subprocess.run(["git", "commit", "--quiet", "--allow-empty", "-m", "In between"], check=True)
    try:
        turn.commit(turn.current.model_copy(update={"reason": "late"}), "Late")
    except ProjectError as error:
        assert "meanwhile" in str(error), error
    else:
        raise SystemExit("it was committed")
"""
    ).succeeded()
    assert git(site.project.path, "rev-parse", "HEAD~") == head
    assert git(site.project.path, "status", "--porcelain") == ""


class Asking(BaseHTTPRequestHandler):
    """A registry of one image, by a token for who has a login or a token of an earlier one."""

    manifest = b"{}"

    def do_GET(self) -> None:
        """Give a token for the login, and the manifest for the token."""
        if self.path.startswith("/token?"):
            good = b64encode(b"duck:quack").decode()
            self._token(self.headers.get("Authorization") == f"Basic {good}")
        elif self.headers.get("Authorization") != "Bearer good":
            self._answer(401, b"{}")
        elif self.path == "/v2/team/there/manifests/1":
            self._answer(200, self.manifest)
        else:
            self._answer(404, b"{}")

    def do_POST(self) -> None:
        """Give a token for one that was given before."""
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._token("refresh_token=once" in form)

    def _token(self, good: bool) -> None:
        self._answer(200 if good else 403, b'{"access_token": "good"}')

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        realm = f"http://{self.headers['Host']}/token"
        self.send_header("WWW-Authenticate", f'Bearer realm="{realm}",service="x",scope="pull"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@LAPTOP
def test_a_registry_with_a_login(site: Site, tmp_path: Path) -> None:
    """Docker's login is taken, or Podman's; without one, or a wrong one, what to do is said."""
    digest = engine.sha256(Asking.manifest)
    pair = b64encode(b"duck:quack").decode()
    file = tmp_path / "config.json"
    with engine.served(Asking) as address:

        def asked(name: str, login: dict[str, str], **where: str) -> Done:
            file.write_text(json.dumps({"auths": {address: login}}), encoding="utf-8")
            code = f"from tools import published; print(published.digest('{address}/team/{name}'))"
            return site.project.python(code, HOME=str(tmp_path / "nobody"), **where)

        docker, podman = {"DOCKER_CONFIG": str(tmp_path)}, {"REGISTRY_AUTH_FILE": str(file)}
        for where in (docker, podman):
            for login in ({"auth": pair}, {"identitytoken": "once"}):
                assert asked("there:1", login, **where).succeeded().out.strip() == digest
        assert asked("gone:1", {"auth": pair}, **docker).succeeded().out.strip() == ""
        for login in ({"auth": b64encode(b"duck:moo").decode()}, {}):
            said = asked("there:1", login, **docker).said
            assert f"docker login {address}" in said


@pytest.mark.parametrize("site", [flavour("batch-only")], indirect=True)
def test_nothing_is_served(site: Site) -> None:
    """Without serving a release is a model in git, and its deployment the champion of the store."""
    model = trained(site.project)
    site.make("release", "ENV=dev", f"RUN={model}").succeeded()
    file = site.project.path / "config/releases/dev.yaml"
    data: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))["data"]
    assert data["model"] == model
    assert "image" not in data
    assert not (site.stores / "dev/models/champion.json").exists()
    site.make("deploy", "ENV=dev").succeeded()
    champion = json.loads((site.stores / "dev/models/champion.json").read_text("utf-8"))
    assert champion["sha256"] == data["sha256"]
    listed = json.loads(site.make("releases", "JSON=1").succeeded().out)["environments"]
    assert next(row for row in listed if row["environment"] == "dev")["deployed"] == model
    site.make("release", "ENV=staging").succeeded()
    shutil.rmtree(site.stores / f"staging/models/{model}")
    site.make("deploy", "ENV=staging").failed(model, f"RUN={model}")
    site.make("deploy", "ENV=prod").failed("nothing is released in prod")
    site.make("deploy").failed("local", "no cluster")


@pytest.mark.parametrize("site", [flavour("xgboost-regression")], indirect=True)
def test_buckets(site: Site) -> None:
    """Models go from a folder to a bucket, and from one to the next; none is made by a slip."""
    server = ThreadedMotoServer(port=0)
    server.start()
    address = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    login = {"aws_access_key_id": "somebody", "aws_secret_access_key": "hush"}
    s3 = boto3.client("s3", endpoint_url=address, region_name="us-east-1", **login)
    environment = {key.upper(): value for key, value in login.items()}
    environment |= {"AWS_ENDPOINT_URL": address, "AWS_REGION": "us-east-1"}

    def make(*arguments: str) -> Done:
        return site.project.make(*arguments, **environment)

    try:
        digest = site.push()
        for env in ENVIRONMENTS:
            site.configure(env, model_store=f"s3://ducks-{env}/models")
        head = site.head
        make("release", "ENV=dev").failed("s3://ducks-dev/models", "cannot be")
        site.nothing_happened(head)
        assert s3.list_buckets()["Buckets"] == []
        for env in ENVIRONMENTS:
            s3.create_bucket(Bucket=f"ducks-{env}")
            make("release", f"ENV={env}").succeeded()
            released = site.released(env)
            assert released["model_uri"] == f"s3://ducks-{env}/models/{trained(site.project)}"
            assert released["image"].endswith(digest)
        kept = [
            {each["Key"]: each["ETag"] for each in s3.list_objects_v2(Bucket=name)["Contents"]}
            for name in ("ducks-dev", "ducks-prod")
        ]
        assert kept[0].keys() == kept[1].keys()
        assert sum(kept[0][key] == kept[1][key] for key in kept[0]) == len(kept[0]) - 1
        assert any("answers-" in key for key in kept[1])
        site.make("release", "ENV=dev").failed("s3://ducks-dev/models", "login")
    finally:
        server.stop()


@LAPTOP
def test_a_release_is_proposed(site: Site, tmp_path: Path) -> None:
    """As the job does on main: dev's release and staging's, one pull request; then nothing new."""
    site.push()
    base, model = site.head.strip(), trained(site.project)
    site.make("release", "ENV=dev", f"RUN={model}").succeeded()
    site.make("propose-release", "ENV=staging", f"SINCE={base}", 'REASON=it is "good"').succeeded()
    said = site.project.proposal
    digest = site.released("staging")["image"].rpartition(":")[2]
    assert said["name"] == f"{model}-{digest[:12]}\n"
    assert said["title"] == f"Release {model} in staging\n"
    assert 'Why: it is "good"' in said["body.md"]
    assert "make deliver ENV=staging" in said["body.md"]
    subjects = site.project.unpack(base, tmp_path / "clone").splitlines()
    assert subjects == [f"Release {model} in dev", f"Release {model} in staging"]

    def changed(since: str) -> Any:
        done = site.make("released-since", f"SINCE={since}", "JSON=1").succeeded()
        return json.loads(done.out)

    assert changed(base) == ["dev", "staging"]
    assert changed(site.head.strip()) == []
    assert changed(f"{site.head.strip()}~") == ["staging"]
    # A new branch, and one that was written anew.
    assert changed("0" * 40) == changed("1" * 40) == ["dev", "staging"]
    done = site.make("propose-release", "ENV=staging").succeeded()
    assert "nothing to propose" in done.out
    assert not site.project.proposal
    site.make("propose-release", "ENV=local").failed("no cluster", "make release ENV=local")
    site.make("propose-release", "ENV=staging", "SINCE=ducks").failed("ducks")
