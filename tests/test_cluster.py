"""Pipelines on Kubeflow: what is compiled, sent, shown and scheduled, and said when it fails.

KFP's API is a double here (kfp_api.py); Kubernetes objects are judged by a real API server.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apiserver
import pytest
import yaml
from conftest import commit, git
from kfp_api import KFP, PROXY, Asked, Record, serving
from projects import Generated, flavour, machine

pytestmark = pytest.mark.project
LAPTOP = pytest.mark.parametrize("project", [flavour("laptop")], indirect=True)
STOPPED = {130, -signal.SIGINT}
DEV = "config/environments/dev.yaml"
COMPILED = "artifacts/compiled/dev"
SUBMITTED = [
    "POST pipelines",
    "POST pipelines/upload_version",
    "POST experiments",
    "POST runs",
]
STEPS = ["ingest", "validate", "train", "evaluate"]
PROGRESS = [
    {},
    {"ingest": "RUNNING"},
    {"ingest": "SUCCEEDED", "validate": "CACHED", "train": "RUNNING"},
    {"ingest": "SUCCEEDED", "validate": "CACHED", "train": "SUCCEEDED", "evaluate": "SUCCEEDED"},
]
# Answers of an engine that has every image but those named in $ABSENT.
DOCKER = """#!/bin/sh
case "$1 $2" in
"image inspect") case "$*" in *"${ABSENT:-nothing}"*) exit 1;; *) echo 1;; esac;;
esac
"""


@pytest.fixture
def kfp() -> Iterator[KFP]:
    with serving(KFP(progress=PROGRESS)) as api:
        yield api


@pytest.fixture
def submit(project: Generated, kfp: KFP, tmp_path: Path) -> Callable[..., Any]:
    """Give a function that runs a verb: with an engine that has all images, and dev the double."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER, encoding="utf-8")
    program.chmod(0o755)
    shutil.rmtree(project.path / "artifacts/dev", ignore_errors=True)
    write_dev(project, kfp)
    path = f"{program.parent}{os.pathsep}{machine()['PATH']}"
    return lambda verb="submit", *words, **env: project.make(
        verb, "ENV=dev", *words, PATH=path, **env
    )


def write_dev(project: Generated, kfp: KFP, **changes: Any) -> None:
    """Have the environment dev be the double, with a model store that needs no driver."""
    store = project.path / "artifacts" / "dev-models"
    values = {
        "artifact_root": "",
        "model_store": f"file://{store}",
        "namespace": "kubeflow",
        "service_account": "pipeline",
        "url": kfp.url,
        **changes,
    }
    (project.path / DEV).write_text(yaml.safe_dump(values), encoding="utf-8")


def kubectl(*words: str) -> subprocess.CompletedProcess[str]:
    """Ask a real API server that knows KFP's kinds."""
    program = apiserver.kubectl()
    kind = "pipelineversions.pipelines.kubeflow.org"
    if subprocess.run([program, "get", "crd", kind], check=False, capture_output=True).returncode:
        apiserver.missing("no API server with Kubeflow Pipelines' CRDs answers (KUBECONFIG)")
    return subprocess.run([program, *words], check=False, capture_output=True, text=True)


def ran(project: Generated, definition: str) -> dict[str, Any]:
    """Run a pipeline by KFP's own local runner: what each step returned, or its metrics."""
    folder = project.path / "artifacts" / "by-hand"
    code = f"""
from kfp import local
from tools import run
from tools.definition import load
from tools.project import project
environment = project().environment("local")
known = run.facts("training", "local", environment)
known["lineage"] = run.origin("training", environment).model_dump_json()
settings = {{step: project().settings(step) for step in run.steps_of("training")}}
{definition}
local.init(local.SubprocessRunner(use_venv=False), pipeline_root={str(folder)!r})
definition(**run.select(definition, known))
"""
    project.python(code).succeeded()
    found = {}
    for path in folder.rglob("executor_output.json"):
        written = json.loads(path.read_text("utf-8"))
        metrics = written.get("artifacts", {}).get("metrics")
        returned = written.get("parameterValues", {}).get("Output")
        found[path.parent.name] = metrics["artifacts"][0]["metadata"] if metrics else returned
    shutil.rmtree(folder)
    return found


# What is compiled.


@LAPTOP
def test_compiled_bytes_depend_on_nothing_else(project: Generated, tmp_path: Path) -> None:
    """Not on Python's hash seed, nor on where the checkout is."""
    done = project.make("compile", "ENV=dev", PYTHONHASHSEED="1").succeeded()
    files = sorted((project.path / COMPILED).iterdir())
    assert [file.name for file in files] == [
        "batch_prediction.kubernetes.yaml",
        "batch_prediction.yaml",
        "monitoring.kubernetes.yaml",
        "monitoring.yaml",
        "training.kubernetes.yaml",
        "training.yaml",
    ]
    for file in files:
        assert file.name in done.out
    before = {file.name: file.read_bytes() for file in files}
    git(tmp_path, "clone", "--quiet", str(project.path), "elsewhere")
    elsewhere = Generated(tmp_path / "elsewhere")
    (elsewhere.path / ".venv").symlink_to(project.path / ".venv")
    # Not to be installed anew: that would move the first one's packages.
    ready = ("-o", ".venv/ready")
    elsewhere.make(*ready, "compile", "ENV=dev", PYTHONHASHSEED="2").succeeded()
    for name, content in before.items():
        assert (elsewhere.path / COMPILED / name).read_bytes() == content, name


@LAPTOP
def test_a_version_is_named_after_its_content(project: Generated) -> None:
    def version() -> str:
        project.make("compile", "ENV=dev", "PIPELINE=training").succeeded()
        objects = (project.path / COMPILED / "training.kubernetes.yaml").read_text("utf-8")
        _, version = yaml.safe_load_all(objects)
        name: str = version["metadata"]["name"]
        return name

    first = version()
    assert re.fullmatch(r"my-model-training-[0-9a-f]{12}", first)
    project.edit("README.md", "#", "##")
    assert version() == first
    project.edit(DEV, "memory: 1Gi", "memory: 3Gi")
    assert version() != first


@LAPTOP
def test_compile_says_what_is_wrong(project: Generated) -> None:
    project.make("compile", "PIPELINE=traning").failed("traning", "training")
    project.make("compile", "ENV=devv").failed("devv", "dev")


@pytest.mark.kubernetes
@LAPTOP
def test_an_api_server_takes_the_objects(project: Generated, tmp_path: Path) -> None:
    """And would not take them with a field that it does not know, or without the pipeline."""
    project.make("compile", "ENV=dev").succeeded()
    strictly = ("apply", "--dry-run=server", "--validate=strict", "-f")
    for name in ("training", "batch_prediction"):
        done = kubectl(*strictly, str(project.path / COMPILED / f"{name}.kubernetes.yaml"))
        assert done.returncode == 0, done.stderr
    pipeline, version = yaml.safe_load_all(
        (project.path / COMPILED / "training.kubernetes.yaml").read_text("utf-8")
    )
    for broken in (
        {**version, "spec": {**version["spec"], "pipelineSpecs": {}}},
        {**version, "spec": {"pipelineName": pipeline["metadata"]["name"]}},
    ):
        file = tmp_path / "broken.yaml"
        file.write_text(yaml.safe_dump(broken), encoding="utf-8")
        assert kubectl(*strictly, str(file)).returncode != 0


@LAPTOP
def test_compiled_pipelines_run(project: Generated) -> None:
    """What is kept in tests/golden gives the metrics of the recorded run."""
    project.make("run").succeeded()
    definition = """
from kfp import components
definition = components.load_component_from_file("tests/golden/training.yaml")
"""
    project.make("run").succeeded()
    assert ran(project, definition)["evaluate"] == project.last_run["metrics"]


# What is sent.


@LAPTOP
def test_submit(kfp: KFP, submit: Callable[..., Any], project: Generated) -> None:
    """The pipeline, the version, the experiment, the run; each once."""
    done = submit().succeeded()
    assert kfp.changes() == SUBMITTED
    (run,), (version,) = kfp.kept["runs"], kfp.kept["versions"]
    assert run["run_id"] in done.out
    assert f"{kfp.url}/#/runs/details/{run['run_id']}" in done.out
    assert run["service_account"] == "pipeline"
    assert run["experiment_id"] == kfp.kept["experiments"][0]["experiment_id"]
    assert run["pipeline_version_reference"] == {
        name: version[name] for name in ("pipeline_id", "pipeline_version_id")
    }
    given = run["runtime_config"]["parameters"]
    lineage = json.loads(given["lineage"])
    assert lineage["git_commit"] == git(project.path, "rev-parse", "HEAD").strip()
    assert lineage["git_dirty"]
    assert "not committed" in done.out
    assert given["data_version"].startswith("breast_cancer-")
    asked = version["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
    assert given.keys() == asked.keys()
    submit().succeeded()
    assert kfp.changes() == [*SUBMITTED, "POST runs"]
    write_dev(project, kfp, every_step={"memory": "3Gi"}, artifact_root="s3://bucket/root")
    submit("submit", "PIPELINE=training").succeeded()
    assert kfp.changes()[len(SUBMITTED) + 1 :] == ["POST pipelines/upload_version", "POST runs"]
    assert kfp.kept["runs"][-1]["runtime_config"]["pipeline_root"] == "s3://bucket/root"


@LAPTOP
@pytest.mark.parametrize(
    ("what", "status"),
    [("pipelines", 409), ("pipelines/upload_version", 500), ("experiments", 409), ("runs", 504)],
)
def test_an_answer_that_is_lost(
    kfp: KFP, submit: Callable[..., Any], what: str, status: int
) -> None:
    """Somebody else made it in between, or it was made and nobody was told: it is there."""
    kfp.fails(f"POST {what}", status, late=True)
    submit().succeeded()
    assert kfp.changes() == SUBMITTED
    assert len(kfp.kept["runs"]) == 1


@LAPTOP
def test_whether_it_started_is_not_known(kfp: KFP, submit: Callable[..., Any]) -> None:
    """What is not safe to ask twice is asked once, and the person told where to look."""
    kfp.fails("POST runs", 502, 502)
    submit().failed("502", "not known", "make runs ENV=dev")
    assert kfp.changes().count("POST runs") == 1


@LAPTOP
def test_what_only_reads_is_asked_again(kfp: KFP, submit: Callable[..., Any]) -> None:
    kfp.fails("GET healthz", 503, 503)
    kfp.fails("GET pipelines", 500)
    done = submit().succeeded()
    assert done.err.count("asking again") == 3
    assert kfp.changes() == SUBMITTED


@LAPTOP
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, ["does not know you", "KFP_TOKEN"]),
        (403, ["'kubeflow'", "services/proxy is forbidden", "right"]),
        (404, ["'kubeflow'", "kubectl -n kubeflow get svc", DEV]),
        (500, ["500", "services/proxy is forbidden", "kubectl -n kubeflow logs"]),
    ],
)
def test_kfp_refuses(kfp: KFP, submit: Callable[..., Any], status: int, words: list[str]) -> None:
    kfp.fails("GET healthz", *[status] * 4, message="services/proxy is forbidden")
    done = submit().failed(*words)
    assert len(done.err.splitlines()) <= 4
    assert kfp.changes() == []


@LAPTOP
def test_a_token(kfp: KFP, submit: Callable[..., Any]) -> None:
    kfp.token = "of-today"  # noqa: S105
    submit(KFP_TOKEN="of-yesterday").failed("KFP_TOKEN", "expired", "the token is not known")  # noqa: S106
    submit(KFP_TOKEN="of-today").succeeded()  # noqa: S106


@LAPTOP
def test_a_page_instead_of_an_api(kfp: KFP, submit: Callable[..., Any]) -> None:
    """A dashboard's login, say."""
    kfp.page = True
    submit().failed("page", "`url`", DEV, "KFP_TOKEN")


@LAPTOP
def test_nothing_is_there(project: Generated, kfp: KFP, submit: Callable[..., Any]) -> None:
    write_dev(project, kfp, url="http://127.0.0.1:9")
    done = submit().failed("dev", "127.0.0.1:9", "refused", "kubectl -n kubeflow get pods")
    assert "asking again" in done.err
    write_dev(project, kfp, url="http://no-such-host.invalid")
    submit("runs").failed("no-such-host.invalid", "name is unknown")
    write_dev(project, kfp, url=kfp.url.replace("http", "https"))
    submit("runs").failed("TLS fails")
    write_dev(project, kfp, url="kubeflow.example.com")
    submit("runs").failed(DEV, "url", "https://")


@LAPTOP
def test_nothing_answers(project: Generated, kfp: KFP) -> None:
    """It is waited for so long and so often, and no longer."""
    kfp.slow = 2
    write_dev(project, kfp)
    code = """
from runtime.errors import ProjectError
from tools import cluster, connection
from tools.project import project
connection.TIMEOUT, connection.RETRIES, connection.BACKOFF = 0.2, 1, 0
try:
    cluster.Cluster("dev", project().environment("dev"))
except ProjectError as error:
    print(error)
"""
    done = project.python(code).succeeded()
    assert "no answer in 0.2 seconds" in done.out
    assert done.err.count("asking again") == 1


@LAPTOP
def test_several_teams_share_it(kfp: KFP, submit: Callable[..., Any]) -> None:
    """What is made belongs to the namespace."""
    kfp.multi_user = True
    submit().succeeded()
    for kind in ("pipelines", "experiments"):
        assert kfp.kept[kind][0]["namespace"] == "kubeflow"
        lists = [asked.query for asked in kfp.asked if asked.line == f"GET {kind}"]
        assert {query.get("namespace") for query in lists} == {"kubeflow"}


def kubeconfig(path: Path, server: str) -> str:
    """Write a kubeconfig with the contexts `here` and `there`."""
    contexts = [{"name": n, "context": {"cluster": "c", "user": "u"}} for n in ("here", "there")]
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "of-kubernetes"}}],
        "contexts": contexts,
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


@LAPTOP
def test_by_a_kubeconfig(
    project: Generated, kfp: KFP, submit: Callable[..., Any], tmp_path: Path
) -> None:
    """Through the cluster's API server, as whom the kubeconfig says; which cluster is told."""
    config = kubeconfig(tmp_path / "config", kfp.url)
    kfp.token = "of-kubernetes"  # noqa: S105
    write_dev(project, kfp, url="")
    done = submit(KUBECONFIG=config).succeeded()
    assert "'here'" in done.out
    assert "port-forward svc/ml-pipeline-ui" in done.out
    assert {asked.path for asked in kfp.asked} == {PROXY}
    write_dev(project, kfp, url="", context="nowhere")
    submit(KUBECONFIG=config).failed(DEV, "nowhere", "here, there")
    write_dev(project, kfp, url="", context="there")
    kfp.token = "another"  # noqa: S105
    submit(KUBECONFIG=config).failed("kubectl --context there", "Log in")
    submit(KUBECONFIG=str(tmp_path / "none")).failed("kubeconfig", "`url`", DEV)
    login = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-login"}}
    content = yaml.safe_load(Path(config).read_text("utf-8"))
    content["users"][0]["user"] = login
    Path(config).write_text(yaml.safe_dump(content), encoding="utf-8")
    done = submit(KUBECONFIG=config).failed("login", "'there'", "no-such-login")
    assert len(done.err.splitlines()) <= 2


class Forgetful(KFP):
    """Lets each token in once, and has the next in a file."""

    tokens: Path

    def answer(self, asked: Asked) -> tuple[int, Record]:
        """Answer a request, and forget who asked."""
        answer = super().answer(asked)
        self.token = f"of-request-{len(self.asked)}"
        self.tokens.write_text(self.token, encoding="utf-8")
        return answer


@LAPTOP
def test_a_run_outlives_a_login(project: Generated, tmp_path: Path) -> None:
    """With a kubeconfig as `make login` writes it for GKE: gcloud is asked for the next token."""
    gcloud = tmp_path / "bin" / "gcloud"
    gcloud.parent.mkdir()
    tokens = tmp_path / "token"
    tokens.write_text("of-nobody", encoding="utf-8")
    expired = f"printf '%s\\t2026-01-01T00:00:00Z' \"$(cat {tokens})\""
    gcloud.write_text(f"#!/bin/sh\n{expired}\n", encoding="utf-8")
    gcloud.chmod(0o755)
    (gcloud.parent / "docker").write_text(DOCKER, encoding="utf-8")
    (gcloud.parent / "docker").chmod(0o755)
    login = project.python("from tools.login import *; print(json.dumps([PLUGIN, ASKS]))")
    plugin, asks = json.loads(login.succeeded().out)
    api = Forgetful(progress=PROGRESS)
    api.tokens = tokens
    with serving(api):
        config = Path(kubeconfig(tmp_path / "config", api.url))
        content = yaml.safe_load(config.read_text("utf-8"))
        user = {"apiVersion": plugin, "command": "sh", "args": ["-c", asks]}
        content["users"][0]["user"] = {"exec": user}
        config.write_text(yaml.safe_dump(content), encoding="utf-8")
        write_dev(project, api, url="")
        path = f"{gcloud.parent}{os.pathsep}{machine()['PATH']}"
        run = ("run", "RUNNER=cluster", "ENV=dev")
        project.make(*run, PATH=path, KUBECONFIG=str(config)).succeeded()
        assert len(api.asked) > len(PROGRESS)
        content["users"][0]["user"] = {"token": api.token}
        config.write_text(yaml.safe_dump(content), encoding="utf-8")
        project.make(*run, PATH=path, KUBECONFIG=str(config)).failed("Log in to it again")


# What is looked at first.


@LAPTOP
@pytest.mark.parametrize("verb", ["submit", "runs", "schedule"])
def test_an_environment_without_a_cluster(project: Generated, verb: str) -> None:
    project.make(verb).failed("'local'", "no cluster", "ENV=", "namespace")


@LAPTOP
def test_a_missing_image(kfp: KFP, submit: Callable[..., Any]) -> None:
    """Is named, and nothing is sent; an engine that is not there only costs the look."""
    submit(ABSENT="my-model-train:").failed("train", "my-model-train:", "make images ENV=dev")
    assert kfp.asked == []


@LAPTOP
def test_no_engine(project: Generated, kfp: KFP) -> None:
    write_dev(project, kfp)
    nowhere = "unix:///nowhere/docker.sock"
    done = project.make("submit", "ENV=dev", DOCKER_HOST=nowhere, CONTAINER_HOST=nowhere)
    assert "not looked at" in done.succeeded().err


BATCH = "PIPELINE=batch_prediction"


@LAPTOP
@pytest.mark.parametrize(
    ("store", "source", "words"),
    [
        (
            "s3://bucket/models",
            "",
            ['"runtime[s3]"', "steps/evaluate/pyproject.toml and steps/register/pyproject.toml"],
        ),
        ("gs://bucket/models", "", ['"runtime[gcs]"', "make setup"]),
        ("artifacts/models", "", ["model_store", "artifacts/models", "evaluate", "volume"]),
        ("", "data/churn.csv", ["ingest.source", "data/churn.csv", "volume"]),
        ("", "s3://bucket/churn.parquet", ['"runtime[s3]"', "steps/ingest/pyproject.toml"]),
        ("", "postgresql+psycopg://u:${DB_PASSWORD}@h/d", ["DB_PASSWORD", "steps.ingest.secrets"]),
    ],
)
def test_what_a_cluster_cannot_see(
    project: Generated,
    kfp: KFP,
    submit: Callable[..., Any],
    store: str,
    source: str,
    words: list[str],
) -> None:
    """Is said before anything is sent."""
    if store:
        write_dev(project, kfp, model_store=store)
    if source:
        project.source(source, **({"query": "select 1"} if "postgres" in source else {}))
    submit().failed(*words)
    assert kfp.asked == []


@LAPTOP
def test_a_store_that_cannot_be_read(
    project: Generated, kfp: KFP, submit: Callable[..., Any], tmp_path: Path
) -> None:
    """By this machine, which looks up what is released."""
    write_dev(project, kfp, model_store=f"file://{tmp_path}")
    (tmp_path / "champion.json").write_text("ducks", encoding="utf-8")
    submit().failed("model store", str(tmp_path), "cannot be read")
    git(project.path, "checkout", "--quiet", DEV)
    submit("release").failed("s3://", '"runtime[s3]"', "`tools`")


@LAPTOP
def test_predictions_that_would_be_lost(kfp: KFP, submit: Callable[..., Any]) -> None:
    submit("submit", BATCH).failed("predict.output", "artifacts/predictions", "volume")
    assert kfp.asked == []


@LAPTOP
def test_a_volume(project: Generated, kfp: KFP, submit: Callable[..., Any]) -> None:
    """What only the cluster can see is looked up there, by a task in front."""
    volumes = {"volumes": [{"claim": "models", "mount": "/mnt/models"}]}
    here = {"model_store": "/mnt/models/dev", "every_step": volumes}
    write_dev(project, kfp, **here)
    submit().succeeded()
    spec = kfp.kept["versions"][0]["pipeline_spec"]["pipeline_spec"]
    assert spec["root"]["dag"]["tasks"].keys() == {"champion", "my-model-training"}
    assert not spec["root"]["dag"]["tasks"]["champion"]["cachingOptions"].get("enableCache")
    platform = kfp.kept["versions"][0]["pipeline_spec"]["platform_spec"]
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors["exec-champion"]["pvcMount"][0]["mountPath"] == "/mnt/models"
    (run,) = kfp.kept["runs"]
    given = run["runtime_config"]["parameters"]
    assert given["model_store"] == "/mnt/models/dev"
    assert "champion" not in given
    write_dev(project, kfp, model_store="/mnt/other", every_step=volumes)
    submit().failed("/mnt/other", "evaluate")


# What is followed.


def follow(submit: Callable[..., Any], **env: str) -> Any:
    return submit("run", "RUNNER=cluster", **env)


@LAPTOP
def test_a_run_is_followed(project: Generated, kfp: KFP, submit: Callable[..., Any]) -> None:
    """Each change of a step is shown, and the record is there to be compared."""
    done = follow(submit).succeeded()
    shown = [line.split()[:2] for line in done.out.splitlines()]
    expected = [
        ["ingest", "running"],
        ["ingest", "ran"],
        ["validate", "cached"],
        ["train", "running"],
        ["train", "ran"],
        ["evaluate", "ran"],
        ["register", "skipped"],
    ]
    assert [line for line in shown if line in expected] == expected
    (path,) = project.path.glob("artifacts/dev/runs/*/run.json")
    record = json.loads(path.read_text("utf-8"))
    assert str(path.relative_to(project.path)) in done.out
    assert (record["runner"], record["state"]) == ("cluster", "succeeded")
    assert record["lineage"]["git_commit"]
    compared = json.loads(submit("compare", "JSON=1").succeeded().out)
    assert [run["run_id"] for run in compared["runs"]] == [record["run_id"]]
    # Following it again says the same, and makes no second record.
    name = kfp.kept["runs"][0]["display_name"]
    submit("runs", f"RUN={name}").succeeded()
    assert len(list(project.path.glob("artifacts/dev/runs/*"))) == 1


@LAPTOP
def test_metrics(project: Generated, kfp: KFP, submit: Callable[..., Any], tmp_path: Path) -> None:
    """Are read where the run wrote them, when this machine can read there."""
    write_dev(project, kfp, artifact_root=f"file://{tmp_path}")
    submit().succeeded()
    (run,) = kfp.kept["runs"]
    written = tmp_path / "my-model-training" / run["run_id"] / "evaluate" / "0" / "metrics"
    written.parent.mkdir(parents=True)
    written.write_text(json.dumps({"candidate": {"roc_auc": 0.75}}), encoding="utf-8")
    done = submit("runs", f"RUN={run['run_id']}").succeeded()
    assert re.search(r"roc_auc +0\.7500", done.out)
    compared = json.loads(submit("compare", "JSON=1").succeeded().out)
    assert compared["metrics"]["roc_auc"]["best"] == 0.75


@LAPTOP
def test_a_step_fails(kfp: KFP, submit: Callable[..., Any]) -> None:
    """Its name, how its log is read, and an exit code that says so."""
    kfp.progress = [*PROGRESS[:2], {"ingest": "SUCCEEDED", "validate": "FAILED"}]
    kfp.ends_as = "FAILED"
    done = follow(submit).failed("validate failed", "kubectl -n kubeflow logs", "pipeline/runid=")
    assert re.search(r"train +not reached", done.out)


@LAPTOP
def test_looking_away(project: Generated, kfp: KFP, submit: Callable[..., Any]) -> None:
    """Ctrl-C leaves the run alone, and says how to go on and how to end it."""
    kfp.progress = [{"ingest": "RUNNING"}] * 1000
    done = project.interrupt(
        "run", lambda: any(run["looks"] for run in kfp.kept["runs"]), RUNNER="cluster", ENV="dev"
    )
    assert done.code in STOPPED | {2}
    assert "Traceback" not in done.said
    (run,) = kfp.kept["runs"]
    name = run["display_name"]
    assert run["state"] == "RUNNING"
    assert f"make runs ENV=dev RUN={name}" in done.out
    assert f"make runs ENV=dev STOP={name}" in done.out
    submit("runs", f"STOP={name}").succeeded()
    assert run["state"] == "CANCELED"
    submit("runs", f"RUN={name}").failed("ended")


@LAPTOP
def test_kfp_goes_away(kfp: KFP, submit: Callable[..., Any]) -> None:
    """While a run is followed: it goes on, and can be found again."""
    kfp.fails("GET runs/.*", 500, 401)
    done = follow(submit).failed("does not know you")
    assert "make runs ENV=dev RUN=" in done.out


@LAPTOP
def test_runs(kfp: KFP, submit: Callable[..., Any]) -> None:
    """The newest first, whose they are and where they are seen."""
    assert "make submit ENV=dev" in submit("runs").succeeded().out
    for _ in range(3):
        submit().succeeded()
    kfp.kept["runs"][1]["recurring_run_id"] = "some"
    said = json.loads(submit("runs", "JSON=1").succeeded().out)
    names = [run["display_name"] for run in kfp.kept["runs"]]
    assert [run["name"] for run in said["runs"]] == names[::-1]
    assert [run["by"] for run in said["runs"]] == ["Test", "schedule", "Test"]
    assert {run["pipeline"] for run in said["runs"]} == {"training"}
    done = submit("runs", "LAST=2").succeeded()
    assert [name in done.out for name in names] == [False, True, True]
    submit("runs", "RUN=yesterday").failed("'yesterday'", "make runs ENV=dev")


# What runs by itself.


def scheduled(project: Generated, kfp: KFP, **schedules: Any) -> None:
    write_dev(project, kfp, schedules=schedules)
    commit(project.path, "Schedules")


@LAPTOP
def test_schedules(project: Generated, kfp: KFP, submit: Callable[..., Any]) -> None:
    """Are as the file says, nobody else's are touched, and nothing is done twice."""
    scheduled(project, kfp, training={"cron": "0 3 * * 1"})
    assert submit("schedule", "CHECK=1").code != 0
    assert kfp.changes() == []
    submit("schedule").succeeded()
    (first,) = kfp.kept["recurringruns"]
    assert first["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert (first["mode"], first["no_catchup"]) == ("ENABLE", True)
    assert first["service_account"] == "pipeline"
    assert not {"champion", "data_version"} & first["runtime_config"]["parameters"].keys()
    # Neither a second call nor a commit that changes nothing of it does anything.
    project.edit("README.md", "#", "##")
    commit(project.path, "Read me")
    before = kfp.changes()
    submit("schedule").succeeded()
    submit("schedule", "CHECK=1").succeeded()
    assert kfp.changes() == before
    # Paused by hand: the file says otherwise.
    first["mode"] = "DISABLE"
    assert "resume" in submit("schedule", "CHECK=1").out
    submit("schedule").succeeded()
    assert first["mode"] == "ENABLE"
    # What a person made stays, whatever it looks like; of another environment too.
    others = [
        {**first, "recurring_run_id": "a", "description": "mine"},
        {**first, "recurring_run_id": "b", "description": "make schedule my-model/prod/training 1"},
    ]
    kfp.kept["recurringruns"] += others
    scheduled(project, kfp, training={"cron": "0 4 * * 1", "enabled": False, "catch_up": True})
    done = submit("schedule").succeeded()
    assert re.search(r"training +0 4 \* \* 1 +paused +replaced", done.out)
    *left, second = kfp.kept["recurringruns"]
    assert left == others
    assert (second["mode"], second["no_catchup"]) == ("DISABLE", False)
    assert first not in kfp.kept["recurringruns"]
    project.edit("config/project.yaml", "seed: 7", "seed: 8")
    commit(project.path, "Another seed")
    assert "replace" in submit("schedule", "CHECK=1").out
    scheduled(project, kfp)
    assert "removed" in submit("schedule").succeeded().out
    assert kfp.kept["recurringruns"] == others


@LAPTOP
def test_a_schedule_is_of_a_commit(
    project: Generated, kfp: KFP, submit: Callable[..., Any]
) -> None:
    write_dev(project, kfp, schedules={"training": {"cron": "0 3 * * 1"}})
    submit("schedule").failed("commit")
    assert kfp.asked == []


@LAPTOP
@pytest.mark.parametrize("cron", ["0 25 * * 1", "0 3 * * 7", "0 3 * MON 1", "5-1 3 * * 1"])
def test_a_time_that_never_comes(
    project: Generated, kfp: KFP, submit: Callable[..., Any], cron: str
) -> None:
    scheduled(project, kfp, training={"cron": cron})
    submit("schedule").failed(DEV, "schedules.training.cron", cron)


@LAPTOP
def test_a_scheduled_run_finds_out_by_itself(project: Generated) -> None:
    """What runs by itself gives the same model, without being told data and champion."""
    definition = """
from tools import resolve
asked = resolve.questions(["data_version", "champion"], settings)
definition = resolve.resolving(load("training", environment), asked, known, environment)
"""
    project.make("run", "release").succeeded()
    champion = json.loads((project.path / "artifacts/models/champion.json").read_text("utf-8"))
    found = ran(project, definition)
    assert found["data-version"] == project.last_run["data_version"]
    assert found["champion"] == champion["sha256"]
    assert found["evaluate"] == project.last_run["metrics"]


@LAPTOP
def test_the_loop_is_scheduled(
    project: Generated, kfp: KFP, submit: Callable[..., Any], tmp_path: Path
) -> None:
    """It finds out what is released and which data there are; its own rows it must be able to see.

    The payload log is where the environment's file says, so that each has its own.
    """
    schedules = {"monitoring": {"cron": "0 5 * * *"}}

    def told(payloads: str, **more: Any) -> None:
        steps = {"monitor": {"env": {"PAYLOAD_LOG": payloads}, **more}}
        write_dev(project, kfp, schedules=schedules, steps=steps)
        commit(project.path, "Schedules")

    scheduled(project, kfp, **schedules)
    submit("schedule").failed("monitor.source", "artifacts/payloads", "volume", DEV)
    told("/mnt/payloads")
    submit("schedule").failed("monitor.source", "/mnt/payloads", "steps.monitor.volumes")
    told("s3://bucket/payloads")
    submit("schedule").failed("s3://bucket/payloads", '"runtime[s3]"', "steps/monitor")
    assert kfp.kept["recurringruns"] == []
    told("/mnt/payloads", volumes=[{"claim": "payloads", "mount": "/mnt"}])
    submit("schedule").succeeded()
    told(f"file://{tmp_path}")
    assert submit("schedule", "CHECK=1").code != 0
    submit("schedule").succeeded()
    (run,) = kfp.kept["recurringruns"]
    assert run["trigger"] == {"cron_schedule": {"cron": "0 0 5 * * *"}}
    given = run["runtime_config"]["parameters"]
    assert not {"champion", "data_version"} & given.keys()
    assert json.loads(given["monitor_settings"])["source"].startswith("payloads:${PAYLOAD_LOG")
    # Without a volume it is all there is: nothing in it is of a platform.
    version = kfp.kept["versions"][-1]["pipeline_spec"]
    tasks = version["root"]["dag"]["tasks"]
    assert tasks.keys() == {"champion", "data-version", "my-model-monitoring"}
    for name in ("champion", "data-version"):
        assert not tasks[name]["cachingOptions"].get("enableCache")
    inner = next(
        part["dag"]["tasks"]
        for name, part in version["components"].items()
        if name == "comp-my-model-monitoring"
    )
    assert not inner["monitor"]["cachingOptions"].get("enableCache")
    executor = version["deploymentSpec"]["executors"]["exec-monitor"]["container"]
    assert {"name": "PAYLOAD_LOG", "value": f"file://{tmp_path}"} in executor["env"]
    project.edit("config/project.yaml", 'labels: ""', "labels: data/truth.csv")
    commit(project.path, "Labels")
    submit("schedule").failed("monitor.labels", "data/truth.csv")


@LAPTOP
def test_an_image_that_cannot_answer(
    project: Generated, kfp: KFP, submit: Callable[..., Any]
) -> None:
    """A step with a source that reads it by other means is told what to import."""
    data = project.package / "data.py"
    text = data.read_text("utf-8").replace("import holdout, sources", "import holdout")
    data.write_text(f"import sources\n{text}", encoding="utf-8")
    settings = project.path / "steps/ingest/settings.py"
    text = settings.read_text("utf-8").replace("from runtime import sources\n", "")
    settings.write_text(re.sub(r"        sources\.check.*\n", "", text), encoding="utf-8")
    scheduled(project, kfp, training={"cron": "0 3 * * 1"})
    submit("schedule").failed("ingest", "runtime/sources.py", "steps/ingest/component.py")


@LAPTOP
def test_every_key_is_told(project: Generated) -> None:
    """The page about clusters names each key that an environment's file may have."""
    code = """
from tools import environment, execution
kinds = ["Environment", "Schedule"], ["Accelerator", "Execution", "Secret", "Toleration", "Volume"]
for module, names in zip((environment, execution), kinds):
    for name in names:
        print(*getattr(module, name).model_fields)
"""
    page = (project.path / "docs/cluster.md").read_text("utf-8")
    written = set(re.findall(r"\w+", " ".join(re.findall(r"```.*?```|`[^`]+`", page, re.DOTALL))))
    assert set(project.python(code).succeeded().out.split()) <= written
