"""`make run RUNNER=docker`: the same pipelines, each step in a container of its image."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import engine
import pytest
from conftest import Template, commit, git
from engine import BUILD_ARGS, docker
from projects import ASLEEP, Done, Generated, flavour, life, machine, restored
from pytest_copie.plugin import Copie

pytestmark = [pytest.mark.project, pytest.mark.engine]
LAPTOP = pytest.mark.parametrize("imaged", [flavour("laptop")], indirect=True)
EVERY = pytest.mark.parametrize(
    "imaged", [flavour("laptop"), flavour("xgboost-regression")], indirect=True
)
DOCKER, BATCH = "RUNNER=docker", "PIPELINE=batch_prediction"
STOPPED = {130, -signal.SIGINT}
# What a step finds around itself, as a line of its log. Of a secret the length is enough.
PROBE = """    import json
    import os

    def writable(path: str) -> bool:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        except OSError:
            return False
        return True

    def content(*paths: str) -> str:
        return next((open(path).read().strip() for path in paths if os.path.exists(path)), "")

    status = dict(line.split(":") for line in content("/proc/self/status").splitlines())
    memory = content("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
    found = {
        "capabilities": int(status["CapEff"], 16),
        "no new privileges": int(status["NoNewPrivs"]),
        "user": os.getuid(),
        "network": sorted(os.listdir("/sys/class/net")),
        "writable": [p for p in ("/app/x", "/opt/venv/x", "/etc/x", "/tmp/x") if writable(p)],
        "variables": {n: len(os.environ.get(n, "")) for n in ("GREETING", "SECRET", "OTHER")},
        "memory": int(memory) if memory.isdigit() else None,
        "sees": [p for p in PLACES if os.path.exists(p)],
    }
    print("FOUND " + json.dumps(found))
"""
FAST = """
import json
from tools.containers import Containers, connect
running, client = Containers(connect(), {{}}), connect()
def run(image, *command):
    return running.run(client, image, command, {{}}, network_mode="none")
print({{run({image!r}, "sh", "-c", "exit 3") for _ in range(15)}})
nowhere = json.dumps({{"outputs": {{"outputFile": "/nowhere/executor_output.json"}}}})
print(run({image!r}, "true", "--executor_input", nowhere))
print(run("nowhere:none", "true"))
"""
# What the released model was asked, a few rows to a request, and what turned out to be true.
LOGGED = """
from datetime import UTC, datetime, timedelta
from pathlib import Path
import pandas as pd
from my_model import model
from my_model.schema import INPUT, TARGET
from runtime import predictions, sources
from runtime.payloads import Exchange, PayloadStore
from runtime.store import ModelStore, model_id
columns = list(INPUT.columns)
rows = sources.read("sklearn:breast_cancer", max_bytes=2**30).sample(500, random_state=7)
champion = ModelStore("artifacts/models").champion()
released = predictions.released_model("artifacts/models", champion, trusted=["my_model"])
answers = predictions.predict(
    released, rows, schema=INPUT, columns=columns, answer=model.predict
)
def asked(number):
    part = slice(number * 5, number * 5 + 5)
    inputs, outputs = (t.iloc[part].to_dict("list") for t in (rows[columns], answers))
    when = datetime.now(UTC) - timedelta(hours=1)
    return Exchange(f"r{number}", when, "m", model_id(champion), 5, inputs, outputs)
PayloadStore("artifacts/payloads").write([asked(number) for number in range(100)])
Path("data").mkdir(exist_ok=True)
ids = [f"r{n // 5}" for n in range(500)]
labels = {"request_id": ids, "row": [n % 5 for n in range(500)], TARGET: list(rows[TARGET])}
pd.DataFrame(labels).to_parquet("data/labels.parquet")
"""
MOVED = "data/moved.parquet"


@pytest.fixture(scope="module")
def imaged(
    request: pytest.FixtureRequest, template: Template, copie_session: Copie
) -> Iterator[Generated]:
    """Give a flavour's project, its images under tags of their own, and remove them all."""
    engine.require()
    with restored(life(request.param, template, copie_session).project) as project:
        project.edit("config/project.yaml", "epoch: 0", f"epoch: {time.time_ns()}")
        commit(project.path, "Tags of this test")
        yield project
        git(project.path, "reset", "--quiet", "--hard", "HEAD~1")
    docker(
        "image", "rm", "--force", *docker("image", "ls", "-q", f"--filter=label={LABEL}").split()
    )


# On every image that is built here.
LABEL = f"test={os.getpid()}"


@pytest.fixture
def project(imaged: Generated) -> Iterator[Generated]:
    """Give the project to a test that changes it."""
    with restored(imaged) as project:
        yield project


def build_and_run(project: Generated, *arguments: str, **environment: str) -> Done:
    """Build what is missing and run, as one command."""
    labelled = f"BUILD_ARGS={BUILD_ARGS} --label={LABEL}"
    return project.make("images", "run", DOCKER, labelled, *arguments, **environment)


def images(project: Generated) -> dict[str, str]:
    """Return the image of each step of the newest run."""
    found: dict[str, str] = project.last_run["lineage"]["images"]
    return found


def containers(*options: str) -> list[str]:
    """Return the containers that the engine has now; they carry their image's labels."""
    return docker("ps", "-q", *options, f"--filter=label={LABEL}").split()


def mishap(project: Generated, do: Callable[[], Any], **environment: str) -> Done:
    """Do something to a run while its training sleeps, and return how it ends."""
    sleeps = project.asleep("train")
    running = subprocess.Popen(
        ["make", "run", DOCKER],
        cwd=project.path,
        env={**machine(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + engine.TIMEOUT
    while not sleeps():
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    do()
    out, err = running.communicate(timeout=engine.TIMEOUT)
    return Done(running.returncode, out, err)


def sleeping(project: Generated) -> None:
    """Have every step that imports the model sleep, in an image that is there."""
    project.fall_asleep()
    labelled = f"BUILD_ARGS={BUILD_ARGS} --label={LABEL}"
    project.make("images", labelled, "IMAGE=train evaluate predict").succeeded()


@EVERY
def test_the_same_model_as_in_processes(project: Generated) -> None:
    """The same to the last digit; a second run repeats nothing; an edit runs what imports it."""
    project.make("run").succeeded()
    here = project.last_run
    said = build_and_run(project).succeeded().out
    assert "without a network" in said
    there = project.last_run
    assert there["runner"] == "docker"
    assert set(project.states.values()) == {"ran"}
    assert there["metrics"] == pytest.approx(here["metrics"], rel=1e-9)
    assert there["steps"]["register"]["parameters"] == here["steps"]["register"]["parameters"]
    for step in there["steps"].values():
        assert "Wrote executor output" in (project.path / step["log"]).read_text("utf-8")
    written = project.path.glob("artifacts/outputs/**/*")
    assert {path.stat().st_uid for path in written} == {os.getuid()}
    assert not containers("--all")

    project.make("run", DOCKER).succeeded()
    assert set(project.states.values()) == {"cached"}
    assert project.last_run["metrics"] == there["metrics"]
    project.make("report").succeeded()
    project.make("compare").succeeded()

    (project.package / "model.py").open("a").write("# An edit.\n")
    runs = len(list(project.path.glob("artifacts/runs/*")))
    missing = project.make("run", DOCKER).failed("not built", "make images").err
    assert len(list(project.path.glob("artifacts/runs/*"))) == runs
    build_and_run(project).succeeded()
    assert project.states == {
        "ingest": "cached",
        "validate": "cached",
        "train": "ran",
        "evaluate": "ran",
        "register": "ran",
    }
    changed = {
        image
        for step, image in images(project).items()
        if image != there["lineage"]["images"][step]
    }
    assert changed == {line.strip() for line in missing.splitlines() if line.startswith("  ")}


@LAPTOP
def test_a_loop(project: Generated) -> None:
    """Batch prediction writes the same bytes as in processes, where the settings say."""
    project.make("release").succeeded()
    project.edit("config/project.yaml", "rows: 10000", "rows: 150")
    project.make("run", BATCH).succeeded()

    def predictions() -> dict[str, bytes]:
        files = sorted(project.path.glob("artifacts/predictions/*/*/*"))
        found = {file.name: file.read_bytes() for file in files}
        for file in files:
            file.unlink()
        return found

    here = predictions()
    assert len(here) > 1
    build_and_run(project, BATCH).succeeded()
    assert predictions() == here
    assert project.states == {"partition": "ran", "predict": "ran"}
    log = (project.path / project.last_run["steps"]["predict"]["log"]).read_text("utf-8")
    assert log.count("Wrote executor output") == len(here)


@LAPTOP
def test_what_a_container_is_given(project: Generated) -> None:
    """Its user, no rights, no network, its own secret, its limit, and no file but what it needs."""
    (project.path / "config/environments/local.yaml").open("a").write(
        "every_step:\n  env: {GREETING: hello}\nsteps:\n  train:\n    memory: 1500Mi\n"
        "    cpu_limit: 1500m\n    secrets:\n      - name: ducks\n        env: {SECRET: key}\n"
    )
    here = [str(project.path / name) for name in ("artifacts/models", "config", ".venv", ".git")]
    for step in ("validate", "train"):
        first = "    from pathlib import Path\n"
        probe = f"{PROBE}\n{first}".replace("PLACES", repr(here))
        project.edit(f"steps/{step}/component.py", first, probe)
    build_and_run(project, OTHER="nobody's").failed("train", "SECRET", "set this variable")
    build_and_run(project, SECRET="ducksecret", OTHER="nobody's").succeeded()  # noqa: S106
    found = {}
    for step in ("validate", "train"):
        log = (project.path / project.last_run["steps"][step]["log"]).read_text("utf-8")
        (line,) = (line for line in log.splitlines() if "FOUND {" in line)
        found[step] = json.loads(line.partition("FOUND ")[2])
    memory = {step: around.pop("memory") for step, around in found.items()}
    variables = {step: around.pop("variables") for step, around in found.items()}
    assert (
        found["train"]
        == {
            "capabilities": 0,
            "no new privileges": 1,
            "user": os.getuid(),
            "network": ["lo"],
            "writable": ["/tmp/x"],  # noqa: S108
            "sees": here[:1],
        }
    )
    assert found["validate"] == found["train"]
    assert variables == {
        "validate": {"GREETING": 5, "SECRET": 0, "OTHER": 0},
        "train": {"GREETING": 5, "SECRET": 10, "OTHER": 0},
    }
    assert memory["train"] == 1500 * 2**20
    assert memory["validate"] != memory["train"]
    kept = [path for path in project.path.glob("artifacts/**/*") if path.is_file()]
    assert not [path for path in kept if b"ducksecret" in path.read_bytes()]


@LAPTOP
def test_own_data(project: Generated) -> None:
    """A file of this project is there under its own name, and the variable that leads to it."""
    project.shipped_data("data/mine.csv")
    project.source("${DATA_FOLDER}/mine.csv")
    build_and_run(project, DATA_FOLDER="data").succeeded()
    assert project.states["ingest"] == "ran"


@LAPTOP
def test_a_payload_log(project: Generated) -> None:
    """What was asked and what was true: the step `monitor` reads both, and can write neither."""
    build_and_run(project).succeeded()
    model = project.last_run["steps"]["register"]["parameters"]["Output"]
    project.make("release", f"RUN={model}").succeeded()
    project.python(LOGGED).succeeded()
    config = "config/project.yaml"
    project.edit(config, 'labels: ""', "labels: data/labels.parquet")
    project.edit(
        "steps/monitor/component.py",
        "    from pathlib import Path\n",
        "    import os\n    from pathlib import Path\n\n"
        '    for place in ("artifacts/payloads", "data/labels.parquet", "artifacts/models"):\n'
        '        print("WRITES" if os.access(place, os.W_OK) else "READS", place)\n',
    )
    try:
        done = build_and_run(project, "PIPELINE=monitoring").succeeded()
        assert "without a network" in done.out
        assert project.states["monitor"] == "ran"
        assert {*project.states.values()} == {"ran", "skipped"}
        step = project.last_run["steps"]["monitor"]
        log = (project.path / step["log"]).read_text("utf-8")
        assert "READS artifacts/payloads" in log
        assert "READS data/labels.parquet" in log
        findings = json.loads(Path(step["artifacts"]["findings"]["uri"]).read_text("utf-8"))
        assert findings["model_id"] == model
        assert findings["rows"] == findings["quality"]["rows"] == 500
        assert (findings["state"], findings["unwatched"]) == ("steady", [])
        # The world changes, and the same pipeline trains in the images.
        project.shipped_data(MOVED, 'frame.loc[::2, "worst texture"] += 18.0')
        project.edit(config, "\nmonitor:\n", f"\nmonitor:\n  source: {MOVED}\n")
        project.edit(config, "source: sklearn:breast_cancer", f"source: {MOVED}")
        build_and_run(project, "PIPELINE=monitoring").succeeded()
        assert project.last_run["steps"]["monitor"]["parameters"]["Output"] == "retrain"
        assert {project.states[step] for step in ("ingest", "train", "evaluate")} == {"ran"}
    finally:
        shutil.rmtree(project.path / "artifacts/payloads", ignore_errors=True)
    assert not containers("--all")


@LAPTOP
def test_a_step_that_fails(project: Generated) -> None:
    """It shows its own error, what waits for it does not run, and it is never taken for done."""
    build_and_run(project).succeeded()
    project.edit("config/project.yaml", "min_rows: 100", "min_rows: 100000")
    for _ in range(2):
        done = project.make("run", DOCKER).failed("validate", "fewer than min_rows")
        assert len(done.err.splitlines()) <= 6, done.err
        assert project.states["validate"] == "failed"
        assert project.states["train"] == "not reached"
    assert not containers("--all")


@LAPTOP
def test_a_container_that_ends_at_once(project: Generated) -> None:
    """Its exit code is known each time; no image is pulled; outputs elsewhere are none."""
    build_and_run(project).succeeded()
    done = project.python(FAST.format(image=images(project)["register"])).succeeded()
    fast, elsewhere, its_code, missing, no_code = filter(None, done.out.splitlines())
    assert fast == "{3}"
    assert "/nowhere/executor_output.json" in elsewhere
    assert "nowhere:none" in missing
    assert its_code == no_code == "1"


@LAPTOP
def test_ctrl_c(project: Generated) -> None:
    """It stops at once, in a loop too, and no container runs on."""
    project.make("release").succeeded()
    project.edit("config/project.yaml", "rows: 10000", "rows: 150")
    build_and_run(project).succeeded()
    sleeping(project)
    for pipeline, step in (("training", "train"), ("batch_prediction", "predict")):
        surroundings = {"PIPELINE": pipeline, "RUNNER": "docker"}
        done = project.interrupt("run", project.asleep(step), **surroundings)
        assert done.code in STOPPED, done.said
        assert "Traceback" not in done.said, done.said
        assert "RUNNER=docker" in done.out
        assert project.last_run["state"] == "interrupted"
        assert not containers("--all")
        log = (project.path / project.last_run["steps"][step]["log"]).read_text("utf-8")
        assert log.count(ASLEEP) <= 2


@LAPTOP
def test_what_happens_to_a_container(project: Generated) -> None:
    """Killed, removed, or out of reach: the step has failed, and it is said how."""
    build_and_run(project).succeeded()
    sleeping(project)
    mishap(project, lambda: docker("kill", *containers())).failed("train", "killed")
    assert project.states["train"] == "failed"
    mishap(project, lambda: docker("rm", "--force", *containers())).failed("train", "container was")
    assert project.states["train"] == "failed"
    passage = engine.Passage()
    mishap(project, passage.cut, DOCKER_HOST=passage.host).failed("train", "does not answer")
    docker("rm", "--force", *containers())
