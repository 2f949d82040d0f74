"""The loop: the released model is looked at, trained again, released by people, rolled back.

What is asserted is what the verbs leave behind: records, findings, the model store.
"""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, Template, git
from projects import Generated, flavour
from test_alerts import JOB, PUSHED, TIMES, got, program

from scripts import ledger

pytestmark = pytest.mark.project
LAPTOP = pytest.mark.parametrize("project", [flavour("laptop")], indirect=True)
EVERY = pytest.mark.parametrize(
    "project", [flavour("laptop"), flavour("xgboost-regression")], indirect=True
)
MONITORING = "PIPELINE=monitoring"
CONFIG = "config/project.yaml"
RECENT, SHIFTED = "data/recent.parquet", "data/shifted.parquet"
# Every other instrument reads higher.
SHIFT = """
for name in ("radius", "texture", "area", "smoothness", "concave points"):
    frame.loc[::2, f"worst {name}"] += 3 * frame[f"worst {name}"].std()
"""
SKIPPED = dict.fromkeys(("ingest", "validate", "train", "evaluate", "register"), "skipped")
DEMO = Path("artifacts/drift-demo")


def configure(project: Generated, **sections: dict[str, Any]) -> None:
    """Set some keys of some sections of the settings, all else as it was."""
    path = project.path / CONFIG
    content = yaml.safe_load(path.read_text("utf-8"))
    for name, values in sections.items():
        content[name] = {**content.get(name, {}), **values}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def found(project: Generated) -> dict[str, Any]:
    """Read what `monitor` found in the newest run."""
    step = project.last_run["steps"]["monitor"]
    path = Path(step["artifacts"]["findings"]["uri"])
    findings: dict[str, Any] = json.loads(path.read_text("utf-8"))
    assert findings["verdict"] == step["parameters"]["Output"]
    return findings


def models(project: Generated) -> set[str]:
    """Return the ids of the registered models."""
    return {path.parent.name for path in project.path.glob("artifacts/models/*/record.json")}


def champion(project: Generated, root: Path = Path()) -> str:
    """Return the id of the released model."""
    path = project.path / root / "artifacts/models/champion.json"
    return str(json.loads(path.read_text("utf-8"))["model_id"])


@contextmanager
def without(path: Path) -> Iterator[None]:
    """Have a file or folder be away for a while."""
    away = path.with_name(f"{path.name}-away")
    path.rename(away)
    try:
        yield
    finally:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        away.rename(path)


def released(project: Generated) -> str:
    """Train and release a model on the project's data, whatever is registered; return its id."""
    project.make("run").succeeded()
    model = str(project.last_run["steps"]["register"]["parameters"]["Output"])
    project.make("release", f"RUN={model}").succeeded()
    assert champion(project) == model
    return model


# The loop.


@LAPTOP
def test_nothing_has_changed_and_then_it_has(project: Generated) -> None:
    """Kept, and nothing else runs; trained again on the data as they are, and nothing released."""
    first, before = released(project), models(project)
    project.shipped_data(RECENT)
    configure(project, monitor={"source": RECENT})
    done = project.make("run", MONITORING).succeeded()
    assert project.states == {"monitor": "ran", **SKIPPED}
    findings = found(project)
    assert (findings["verdict"], findings["state"]) == ("keep", "steady")
    assert findings["model_id"] == first
    assert findings["unwatched"] == []
    assert findings["quality"]["state"] == "steady"
    assert findings["reason"] in done.out
    assert max(column["distance"] for column in findings["columns"]) < 0.1
    assert (champion(project), models(project)) == (first, before)

    project.shipped_data(SHIFTED, SHIFT)
    configure(project, monitor={"source": SHIFTED}, ingest={"source": SHIFTED})
    project.make("run", MONITORING).succeeded()
    assert set(project.states.values()) == {"ran"}
    run, findings = project.last_run, found(project)
    assert (findings["verdict"], findings["state"]) == ("retrain", "drift")
    moved = {column["name"] for column in findings["columns"] if column["state"] == "drift"}
    assert {"worst radius", "worst texture", "worst area"} <= moved
    assert run["steps"]["evaluate"]["parameters"]["Output"] == "register"
    second = run["steps"]["register"]["parameters"]["Output"]
    assert second not in before
    assert models(project) == before | {second}
    assert champion(project) == first
    folder = project.path / "artifacts/models" / second
    record = json.loads((folder / "record.json").read_text("utf-8"))
    assert record["lineage"]["pipeline"] == "monitoring"
    assert record["data"]["version"] == run["data_version"]
    assert record["champion"][: len(first)] == first
    assert record["metrics"]["roc_auc"] > record["champion_metrics"]["roc_auc"]
    assert (folder / "profile.json").exists()

    # A look is never cached; what is trained is.
    project.make("run", MONITORING).succeeded()
    states = project.states
    assert states.pop("monitor") == "ran"
    assert set(states.values()) == {"cached"}
    # Once it is released, it is what the same rows are held against.
    project.make("release", f"RUN={second}").succeeded()
    project.make("run", MONITORING).succeeded()
    assert found(project)["model_id"] == second
    assert project.states == {"monitor": "ran", **SKIPPED}


@LAPTOP
def test_broken_data_are_not_trained_on(project: Generated) -> None:
    """And the team's own decision is heeded."""
    released(project)
    project.shipped_data(SHIFTED, f'{SHIFT}\nframe.loc[17, "mean radius"] = -3.0')
    configure(project, monitor={"source": SHIFTED}, ingest={"source": SHIFTED})
    project.make("run", MONITORING).succeeded()
    findings = found(project)
    assert (findings["verdict"], findings["broken_rows"]) == ("keep", 1)
    assert "mean radius" in findings["broken"][0]
    project.shipped_data(SHIFTED, SHIFT)
    configure(project, monitor={"retrain_on": []})
    project.make("run", MONITORING).succeeded()
    findings = found(project)
    assert (findings["verdict"], findings["state"]) == ("keep", "drift")
    assert project.states == {"monitor": "ran", **SKIPPED}


# The demonstration.


@EVERY
def test_the_demonstration(project: Generated) -> None:
    """Alarm, decision, release and rollback are in its records; the project is as it was."""
    before = {*project.path.glob("artifacts/**/*")}
    project.make("drift-demo").succeeded()
    after = {path for path in project.path.glob("artifacts/**/*") if DEMO.name not in path.parts}
    assert after <= before
    assert git(project.path, "status", "--porcelain") == ""

    folder = project.path / DEMO
    story = json.loads((folder / "demo.json").read_text("utf-8"))
    runs = {
        name: json.loads((folder / f"artifacts/runs/{run}/run.json").read_text("utf-8"))
        for name, run in story["runs"].items()
    }
    assert runs.keys() == {"train", "steady", "shifted"}
    looks = {
        name: json.loads(Path(run["steps"]["monitor"]["artifacts"]["findings"]["uri"]).read_text())
        for name, run in runs.items()
        if name != "train"
    }
    steady, shifted = looks["steady"], looks["shifted"]
    assert (steady["verdict"], steady["state"], steady["quality"]["state"]) == (
        *("keep", "steady"),
        "steady",
    )
    assert steady["rows"] == steady["quality"]["rows"] == shifted["rows"] == 500
    assert {name: step["state"] for name, step in runs["steady"]["steps"].items()} == {
        "monitor": "ran",
        **SKIPPED,
    }
    # The alarm.
    assert (shifted["verdict"], shifted["state"]) == ("retrain", "drift")
    drifted = {column["name"] for column in shifted["columns"] if column["state"] == "drift"}
    assert story["shifted"]
    assert set(story["shifted"]) <= drifted
    # The decision.
    first, steps = story["first"], runs["shifted"]["steps"]
    assert runs["shifted"]["champion"][: len(first)] == first
    assert steps["evaluate"]["parameters"]["Output"] == story["decision"] == "register"
    second = steps["register"]["parameters"]["Output"]
    judged = json.loads(Path(steps["evaluate"]["artifacts"]["metrics"]["uri"]).read_text("utf-8"))
    assert judged["reason"]
    assert judged["champion"] is not None
    # Release and rollback.
    assert story["champions"] == [first, second, first]
    assert champion(project, DEMO) == first
    page = (folder / "demo.html").read_text("utf-8")
    assert first in page
    assert second in page
    assert page.count("<svg") > len(story["shifted"])


@LAPTOP
def test_the_demonstration_of_data_that_are_renamed(project: Generated) -> None:
    """What the team's own `read` has made is not made again by that of the copy."""
    project.shipped_data("data/raw.csv", "frame = frame.rename(columns={'target': 'found'})")
    project.source("data/raw.csv")
    read = "sources.read(source, query, max_bytes=max_bytes)"
    data = str((project.package / "data.py").relative_to(project.path))
    project.edit(data, read, f"{read}.assign(target=lambda raw: raw.pop('found'))")
    project.python(
        """
from tools import drift_demo, scratch
from tools.project import ROOT, project
folder = scratch.copy(ROOT / "artifacts/renamed")
drift_demo.prepare(folder, project().science("data").read("data/raw.csv"))
assert scratch.run(folder, "tools.run", "--env", scratch.ENV).returncode == 0
"""
    ).succeeded()


@LAPTOP
def test_the_demonstration_is_stopped(project: Generated) -> None:
    """While server and payload log run: both end with it."""
    shutil.rmtree(project.path / DEMO, ignore_errors=True)
    log = project.path / DEMO / "artifacts/payloads"
    done = project.interrupt("drift-demo", log.exists)
    assert done.code != 0
    assert "Traceback" not in done.said, done.said
    assert not (project.path / DEMO / "demo.json").exists()
    assert git(project.path, "status", "--porcelain") == ""


# What it stands on.


@LAPTOP
def test_a_model_without_a_profile(project: Generated) -> None:
    """It gets the one it would have had from its run; where that is gone, this is said."""
    profile = project.path / "artifacts/models" / released(project) / "profile.json"
    project.shipped_data(RECENT)
    configure(project, monitor={"source": RECENT})
    before = json.loads(profile.read_text("utf-8"))
    profile.unlink()
    project.make("run", MONITORING).succeeded()
    assert json.loads(profile.read_text("utf-8")) == before
    with without(project.path / "artifacts/runs"):
        profile.unlink()
        project.make("run", MONITORING).failed(
            "monitor", champion(project), "no reference profile", "docs/monitoring.md"
        )
    with without(profile.parent):
        project.make("run", MONITORING).failed("monitor", f"'{champion(project)}' is registered")
    project.make("run", MONITORING).succeeded()
    assert found(project)["verdict"] == "keep"


@LAPTOP
def test_an_older_step(project: Generated, template: Template, tmp_path: Path) -> None:
    """A team's `evaluate` of before this pipeline knows of no profile: the run gives it."""
    clone = tmp_path / "template"
    git(tmp_path, "clone", "--quiet", str(ROOT), str(clone))
    (release,) = (each for each in ledger.read(ROOT) if each.version == "0.5.0")
    older = Template(clone).render(tmp_path / "older", release.commit)
    for name in ("evaluate", "register"):
        shutil.copytree(older / "steps" / name, project.path / "steps" / name, dirs_exist_ok=True)
    assert "profile" not in (project.path / "steps/evaluate/component.py").read_text("utf-8")
    configure(project, train={"regularisation": 1.01})
    folder = project.path / "artifacts/models" / released(project)
    names = json.loads((folder / "profile.json").read_text("utf-8"))["columns"].keys()
    assert len(names) == 33
    project.shipped_data(RECENT)
    configure(project, monitor={"source": RECENT})
    project.make("run", MONITORING).succeeded()
    assert (found(project)["verdict"], found(project)["unwatched"]) == ("keep", [])


@LAPTOP
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["monitor", "no model is released", "make release"]),
        ({"source": "payloads:a", "query": "select 1"}, [CONFIG, "remove the query"]),
        ({"source": "recent.txt"}, [CONFIG, ".parquet"]),
        ({"retrain_on": ["ducks"]}, [CONFIG, "retrain_on", "'drift' or 'quality'"]),
        ({"pushgateway": "gateway:9091"}, [CONFIG, "pushgateway"]),
        ({"distanse": 0.2}, [CONFIG, "distanse", "did you mean 'distance'"]),
    ],
    ids=["nothing released", "query", "source", "alarm", "gateway", "key"],
)
def test_what_it_is_told_wrongly(
    project: Generated, settings: dict[str, Any], words: list[str]
) -> None:
    configure(project, monitor=settings)
    project.make("run", MONITORING).failed(*words)


@LAPTOP
def test_files_that_are_not_there(project: Generated) -> None:
    """Or are not of labels: the step says which."""
    released(project)
    configure(project, monitor={"source": RECENT})
    project.make("run", MONITORING).failed("monitor", RECENT)
    configure(project, monitor={"source": "payloads:artifacts/none", "labels": "data/truth.csv"})
    project.make("run", MONITORING).failed("monitor", "data/truth.csv")
    (project.path / "data").mkdir(exist_ok=True)
    (project.path / "data/truth.csv").write_text("id,target\n1,benign\n", encoding="utf-8")
    project.make("run", MONITORING).failed("monitor", "data/truth.csv", "'request_id'")


# The pipeline around another.


@LAPTOP
def test_a_step_of_the_teams_own(project: Generated) -> None:
    """Its settings are asked for and passed on, without an edit of pipelines/monitoring.py."""
    steps = project.path / "steps"
    shutil.copytree(steps / "validate", steps / "clean")
    for file in (steps / "clean").iterdir():
        if file.is_file():
            text = file.read_text("utf-8").replace("steps.validate", "steps.clean")
            text = text.replace("step-validate", "step-clean").replace('"validate"', '"clean"')
            file.write_text(text.replace("def validate(", "def clean("), encoding="utf-8")
    (steps / "clean/test_validate.py").unlink()
    training = "pipelines/training.py"
    project.edit(
        training,
        "from steps.evaluate",
        "from steps.clean.component import clean\nfrom steps.evaluate",
    )
    project.edit(
        training, "    train_settings: str,", "    clean_settings: str,\n    train_settings: str,"
    )
    project.edit(
        training,
        "    candidate = train(train_data=train_data, settings=train_settings).after(valid)\n",
        "    clean(train_data=train_data, test_data=test_data, settings=clean_settings)\n"
        "    candidate = train(train_data=train_data, settings=train_settings).after(valid)\n",
    )
    project.make("setup", "golden").succeeded()
    golden = yaml.safe_load((project.path / "tests/golden/monitoring.yaml").read_text("utf-8"))
    assert "clean_settings" in golden["root"]["inputDefinitions"]["parameters"]
    contracts = ["tests/contracts/test_pipelines.py", "tests/contracts/test_steps.py"]
    project.python(f"import pytest, sys; sys.exit(pytest.main({contracts}))").succeeded()
    released(project)
    project.shipped_data(SHIFTED, SHIFT)
    shifted = {"source": SHIFTED}
    configure(project, monitor=shifted, ingest=shifted, clean={"min_rows": 10**6})
    project.make("run", MONITORING).failed("clean", f"fewer than min_rows ({10**6})")
    configure(project, clean={"min_rows": 7})
    project.make("run", MONITORING).succeeded()
    assert project.states["clean"] == "ran"
    assert project.last_run["lineage"]["settings"]["clean"] == {"min_rows": 7}


@LAPTOP
def test_the_training_pipeline_has_another_name(project: Generated) -> None:
    git(project.path, "mv", "pipelines/training.py", "pipelines/learning.py")
    project.edit("pipelines/learning.py", "def training(", "def learning(")
    project.make("run", MONITORING).failed(
        "pipelines/monitoring.py", "pipelines.training", "the name that it has now"
    )


@LAPTOP
def test_it_reaches_the_steps_of_both_pipelines(project: Generated) -> None:
    """What dev's file says of images, memory and secrets: within the condition too."""
    project.edit("config/environments/dev.yaml", "steps:\n", "pull_secrets: [ducks]\nsteps:\n")
    project.edit("config/environments/dev.yaml", "memory: 2Gi", "memory: 3Gi")
    target = project.path / "artifacts/monitoring.yaml"
    project.python(
        f"""
from kfp.compiler import Compiler
from tools.definition import load
from tools.project import project
Compiler().compile(load("monitoring", project().environment("dev")), {str(target)!r})
"""
    ).succeeded()
    pipeline, platform = yaml.safe_load_all(target.read_text("utf-8"))
    executors = pipeline["deploymentSpec"]["executors"]
    assert executors.keys() == {f"exec-{step}" for step in ("monitor", *SKIPPED)}
    for name, executor in executors.items():
        container = executor["container"]
        step = name.removeprefix("exec-")
        assert container["image"].startswith(f"ghcr.io/my-team/my-model-{step}:")
        memory = "3Gi" if step == "train" else "1Gi"
        assert container["resources"]["resourceMemoryLimit"] == memory
    secrets = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert secrets.keys() == executors.keys()
    for name, each in secrets.items():
        assert "ducks" in json.dumps(each["imagePullSecret"]), name


# What Prometheus is told.


def series(text: str) -> dict[str, set[str]]:
    """Return the labels of each metric, without those by which a Pushgateway groups."""
    grouped = {"job", "instance", "namespace", "environment"}
    return {
        name: set(re.findall(r'(\w+)="', labels)) - grouped
        for name, labels in re.findall(r"^(\w+)(\{.*\})? \S+$", text, re.MULTILINE)
        if not name.startswith("push_")
    }


@LAPTOP
def test_what_is_pushed(project: Generated) -> None:
    """What the alerts are tried with is what a look tells; a gateway that is down is no end."""
    released(project)
    project.shipped_data(RECENT)
    with program("prometheus-pushgateway", "prometheus-pushgateway") as url:
        configure(project, monitor={"source": RECENT, "pushgateway": url})
        project.make("run", MONITORING).succeeded()
        told = got(f"{url}/metrics").decode()
    ours = "".join(line for line in told.splitlines(keepends=True) if f'job="{JOB}"' in line)
    times = "".join(f"{name} 1\n" for name in TIMES)
    assert series(ours) == series(PUSHED + times)
    assert re.search(r'model_drift\{.*state="steady"\} 1$', ours, re.MULTILINE)
    project.make("run", MONITORING).succeeded()
    assert found(project)["verdict"] == "keep"
    step = project.last_run["steps"]["monitor"]
    assert step["state"] == "ran"
    assert "was not told" in (project.path / step["log"]).read_text("utf-8")


# How often it is wrong.


QUALITY = """
import json
from types import SimpleNamespace
import numpy as np
import pandas as pd
import pandera.pandas as pa
from runtime import monitoring
from runtime.watch import Thresholds

SAMPLES, ROWS, HELD_OUT, ALPHA = 300, 400, 400, 0.05
random = np.random.default_rng(5)

def drawn(rows, slope):
    x = random.normal(size=rows)
    truth = random.random(rows) < 1 / (1 + np.exp(-slope * x))
    return pd.DataFrame({"chance": 1 / (1 + np.exp(-2 * x)), "truth": truth})

def scores(_, rows):
    chance, truth = rows["chance"].to_numpy(), rows["truth"].to_numpy()
    return {"log_loss": float(-np.log(np.where(truth, chance, 1 - chance)).mean())}

def alarms(slope):
    worse = 0
    for _ in range(SAMPLES):
        record = SimpleNamespace(
            metrics=scores(None, drawn(HELD_OUT, 2.0)),
            lineage=SimpleNamespace(settings={}),
            data=SimpleNamespace(test_rows=HELD_OUT),
        )
        science = SimpleNamespace(
            schema=pa.DataFrameSchema({}), target="truth", scores=scores,
            lower_is_better={"log_loss"},
        )
        rows = drawn(ROWS, slope)
        seen = SimpleNamespace(labels=ROWS, labelled=[rows])
        released = SimpleNamespace(record=record, model=None)
        judged = monitoring.judged(released, seen, Thresholds(alpha=ALPHA), science)
        worse += judged.state == "worse"
    return worse / SAMPLES

monitoring.RESAMPLED = 100
print(json.dumps([alarms(2.0), alarms(1.0)]))
"""


@LAPTOP
def test_quality_is_seldom_called_worse_falsely(project: Generated) -> None:
    """At 5 of 100, and what chance adds to 300 samples; twice the doubt is found in most."""
    falsely, rightly = json.loads(project.python(QUALITY).succeeded().out)
    # Less than a thousandth of binomial samples at the stated rate exceed 0.1.
    assert 0.01 <= falsely <= 0.1
    assert rightly >= 0.9
