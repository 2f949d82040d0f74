"""What `make run` says of a runner before anything runs, and how it is stopped and tried again."""

import json
import signal
from functools import partial

import pytest
from projects import Generated, flavour

pytestmark = pytest.mark.project
on = partial(pytest.mark.parametrize, "project", indirect=True)
# One is enough for what does not depend on task or framework, and each worker has its share.
LAPTOP = on([flavour("laptop")])
REGRESSION = on([flavour("xgboost-regression")])
DOCKER = "RUNNER=docker"
STOPPED = {130, -signal.SIGINT}
# What a step's settings mean for its container: which files of this machine are in it and can be
# written to, and which setting, if any, makes it need a network.
CONFINED = """
import json, sys
from steps.{step}.settings import StepSettings
from tools.confinement import mounts, reaches
settings = StepSettings(**{settings!r})
files = {{mount["Target"]: mount["ReadOnly"] for mount in mounts(settings, {store!r})}}
print(json.dumps([files, reaches(settings, {store!r})]))
"""


@REGRESSION
@pytest.mark.parametrize(
    ("surroundings", "words"),
    [
        ({"DOCKER_HOST": "unix:///nowhere/docker.sock"}, ["/nowhere/docker.sock: start"]),
        ({"DOCKER_HOST": "tcp://127.0.0.1:9"}, ["tcp://127.0.0.1:9: start"]),
        ({"DOCKER_HOST": "nonsense"}, ["nonsense"]),
    ],
)
def test_no_engine(project: Generated, surroundings: dict[str, str], words: list[str]) -> None:
    """Where it was looked for, and the ways out; nothing is left of the try."""
    runs = len(list(project.path.glob("artifacts/runs/*")))
    done = project.make("run", DOCKER, **surroundings)
    done.failed("no container engine", "start Docker", "DOCKER_HOST", *words)
    assert len(done.err.splitlines()) <= 2, done.err
    assert len(list(project.path.glob("artifacts/runs/*"))) == runs


@REGRESSION
@pytest.mark.parametrize("runner", ["", "dcoker", "Docker"])
def test_a_runner_that_there_is_not(project: Generated, runner: str) -> None:
    """The ones there are are listed."""
    project.make("run", f"RUNNER={runner}").failed(f"{runner!r}", "local", "docker")


@REGRESSION
@pytest.mark.parametrize("runner", ["local", "docker"])
def test_an_environment_without_a_folder(project: Generated, runner: str) -> None:
    """What is on a cluster does not run here."""
    project.make("run", "ENV=dev", f"RUNNER={runner}").failed("dev", "RUNNER=cluster", "ENV=local")


@REGRESSION
def test_a_secret_that_is_not_set(project: Generated) -> None:
    """Step and variable are named."""
    (project.path / "config/environments/local.yaml").open("a").write(
        "steps:\n  ingest:\n    secrets:\n      - name: db\n        env: {DUCK_SECRET: password}\n"
    )
    project.make("run", DOCKER).failed("ingest", "DUCK_SECRET", "set")


@REGRESSION
@pytest.mark.parametrize(
    ("source", "query", "read", "reaches"),
    [
        ("sklearn:diabetes", None, [], ""),
        ("data/a.csv", None, ["/app/data/a.csv"], ""),
        ("file://data/a.csv", None, ["/app/data/a.csv"], ""),
        ("data/*.csv", None, ["/app/data/a.csv", "/app/data/b.csv"], ""),
        ("data/../data/a.csv", None, ["/app/data/a.csv"], ""),
        ("data/none.csv", None, [], ""),
        ("sqlite:///data/mine.db", "select 1", ["/app/data/mine.db"], ""),
        ("duckdb:data/mine.db", "select 'a.csv'", ["/app/data/mine.db"], ""),
        ("duckdb:", "from 'data/*.csv' where x='yes'", ["/app/data/a.csv", "/app/data/b.csv"], ""),
        ("duckdb:", "from 's3://bucket/a.parquet'", [], "query"),
        ("s3://bucket/a.csv", None, [], "source"),
        ("https://host/data/a.csv", None, [], "source"),
        ("postgresql+psycopg://me:${PASSWORD}@host/db", "select 1", [], "source"),
    ],
)
def test_what_a_source_means_for_a_container(
    project: Generated, source: str, query: str | None, read: list[str], reaches: str
) -> None:
    """Files of this machine can be read, each by the name it has here; what is elsewhere, too."""
    (project.path / "data").mkdir()
    for name in ("a.csv", "b.csv", "mine.db"):
        (project.path / "data" / name).touch()
    store = str(project.path / "artifacts/models")
    settings = {"source": source, "query": query}
    done = project.python(CONFINED.format(step="ingest", settings=settings, store=store))
    files, key = json.loads(done.succeeded().out)
    assert files == {**dict.fromkeys(read, True), store: False}
    assert key == reaches


@REGRESSION
def test_what_an_output_means_for_a_container(project: Generated) -> None:
    """A folder can be written to; a bucket, of predictions or models, is reached by network."""
    for output, store, files, reaches in (
        ("data/out", "s3://bucket/models", {"/app/data/out": False}, "the model store"),
        ("s3://bucket/out", "s3://bucket/models", {}, "output"),
    ):
        code = CONFINED.format(step="predict", settings={"output": output}, store=store)
        assert json.loads(project.python(code).succeeded().out) == [files, reaches]


@REGRESSION
def test_ctrl_c_in_a_loop(project: Generated) -> None:
    """What of it has not begun does not begin."""
    project.make("run").succeeded()
    project.make("release").succeeded()
    project.edit("config/project.yaml", "rows: 10000", "rows: 20")
    project.fall_asleep()
    done = project.interrupt("run", project.asleep("predict"), PIPELINE="batch_prediction")
    assert done.code in STOPPED
    assert "Traceback" not in done.said, done.said
    assert project.last_run["state"] == "interrupted"


@REGRESSION
def test_a_step_that_is_tried_again(project: Generated) -> None:
    """When the second try succeeds, so has the step."""
    (project.path / "config/environments/local.yaml").open("a").write("every_step: {retries: 1}\n")
    project.edit("tools/execution.py", 'BACKOFF = "30s"', 'BACKOFF = "1s"')
    first_time = """    from pathlib import Path

    tried = Path("data/tried")
    if not tried.exists():
        tried.parent.mkdir()
        tried.touch()
        raise ValueError("ducks are late")
"""
    project.edit("steps/train/component.py", "    from pathlib import Path\n", first_time)
    project.make("run").succeeded()
    assert project.states["train"] == "ran"
    log = (project.path / project.last_run["steps"]["train"]["log"]).read_text("utf-8")
    assert "ducks are late" in log
