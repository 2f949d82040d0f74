"""The search for hyper-parameters: in a run by Optuna, on a cluster by Katib.

The cluster is a real API server. Katib's definition lets any field through, so what is sent is held
to the models of Katib's own API, and its Job to what Trainer's definition says of Jobs. Katib's
controller is played here, and a trial is run as a process.
"""

import copy
import json
import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from apiserver import NAMESPACE, Object, ask, kubectl, require, wait_for
from conftest import Template
from projects import Done, Generated, flavour, life, machine, restored
from pytest_copie.plugin import Copie

pytestmark = [
    pytest.mark.project,
    pytest.mark.parametrize("project", [flavour("xgboost-regression")], indirect=True),
]
KATIB = "kubeflow-katib-api==0.19.0"
# A model that is a number, which is good when it is near two.
TOY = """
import json, sys, time
from pathlib import Path
import pandas as pd
from runtime import trial
from runtime.errors import ProjectError
from runtime.search import SearchSettings, search
from runtime.trial import Task

class Options(SearchSettings):
    x: float = 5.0
    seed: int = 0

Path("artifacts").mkdir(exist_ok=True)
DATA = "artifacts/toy.parquet"
pd.DataFrame({"y": [1.0, 2.0, 3.0]}).to_parquet(DATA)

def task(
    train=lambda examples, x, seed: x,
    space=lambda trial: {"x": trial.suggest_float("x", -10, 10)},
    scores=lambda model, examples: {"loss": (model - 2) ** 2},
    lower_is_better={"loss"},
):
    folds = lambda examples, seed: [(examples, examples)] * 3
    return Task(space, folds, train, scores, lower_is_better)

def searched(made, **given):
    return search(made, DATA, Options(**{"trials": 20, "metric": "loss", **given}))
"""
MODELS = """
import json, sys
from kubeflow_katib_api.models import V1beta1Experiment
sent = json.load(sys.stdin)
print(json.dumps(V1beta1Experiment.from_dict(sent).to_dict()))
"""


@pytest.fixture
def project(
    request: pytest.FixtureRequest, template: Template, copie_session: Copie
) -> Iterator[Generated]:
    """Give the project of a flavour, its dev on the cluster of KUBECONFIG, and restore it."""
    with restored(life(request.param, template, copie_session).project) as project:
        dev = "config/environments/dev.yaml"
        project.edit(dev, "namespace: kubeflow", f"namespace: {NAMESPACE}")
        yield project


def toy(project: Generated, code: str) -> Any:
    """Search for a number, and return what the code prints as JSON."""
    done = project.python(TOY + code).succeeded()
    return json.loads(done.out.splitlines()[-1])


def test_as_many_trials_as_allowed(project: Generated) -> None:
    """The first is what is configured, the best is the best; the same seed gives the same study."""
    studies = toy(
        project,
        "print(json.dumps([searched(task(), seed=seed).complete() for seed in (1, 1, 2)]))",
    )
    first, second, other = studies
    assert len(first["trials"]) == 20
    assert first["stopped_by"] == "trials"
    assert first["trials"][0]["values"] == {"x": 5.0}
    assert first["trials"][0]["value"] == 9.0
    done = [each for each in first["trials"] if each["state"] == "complete"]
    best = first["trials"][first["best"]]
    assert best["value"] == min(each["value"] for each in done) < 1
    for study in studies:
        del study["seconds"]
    assert first == second
    assert first["trials"] != other["trials"]


def test_no_trials(project: Generated) -> None:
    """Nothing is read and nothing is searched."""
    assert toy(
        project,
        """
study = search(task(), "there is no such file", Options())
print(json.dumps([study.found, study.headline]))
""",
    ) == [{}, {"trials": 0}]


def test_the_time_is_up(project: Generated) -> None:
    """No trial begins any more, and the study says so; there is one in any case."""
    long, short = toy(
        project,
        """
def slow(examples, x, seed):
    time.sleep(0.02)
    return x
limits = (0.5 / 60, 0.00001)
found = [searched(task(slow), trials=10000, search_minutes=limit) for limit in limits]
print(json.dumps([study.complete() for study in found]))
""",
    )
    assert long["stopped_by"] == short["stopped_by"] == "time"
    assert 1 < len(long["trials"]) < 100
    assert long["seconds"] < 10
    assert len(short["trials"]) == 1
    code = f"""
from runtime.records import Study
from tools import study
print(json.dumps(study.effort(Study.parse({long!r}, where="test"))))
"""
    assert f"{len(long['trials'])} of 10000 trials" in toy(project, code)
    assert "time was up" in toy(project, code)


def test_what_is_configured_may_be_outside_of_the_space(project: Generated) -> None:
    """It is tried all the same, and the others are inside."""
    study = toy(project, "print(json.dumps(searched(task(), x=50.0).complete()))")
    first, *others = [each["values"]["x"] for each in study["trials"]]
    assert first == 50.0
    assert all(-10 <= x <= 10 for x in others)


def test_larger_is_better(project: Generated) -> None:
    """Without being listed as one where smaller is, a metric is to be large."""
    best = toy(project, "print(json.dumps(searched(task(lower_is_better=())).found))")["x"]
    assert best < -8


def test_a_trial_that_is_behind(project: Generated) -> None:
    """It is not finished: fewer models are trained than trials have folds."""
    study, trained = toy(
        project,
        """
count = []
def train(examples, x, seed):
    count.append(x)
    return x
study = searched(task(train), trials=30)
print(json.dumps([study.complete(), len(count)]))
""",
    )
    states = [each["state"] for each in study["trials"]]
    assert set(states) == {"complete", "pruned"}
    assert states[:5] == ["complete"] * 5
    assert trained == 3 * states.count("complete") + states.count("pruned")


def test_trials_that_fail(project: Generated) -> None:
    """They are recorded with the reason, and the search goes on."""
    study = toy(
        project,
        """
def train(examples, x, seed):
    if x < 0:
        raise ValueError("ducks do not fit")
    return x if x < 6 else float("nan")
print(json.dumps(searched(task(train)).complete()))
""",
    )
    states = [each["state"] for each in study["trials"]]
    assert len(states) == 20
    assert "complete" in states
    for each in study["trials"]:
        x = each["values"]["x"]
        assert (each["state"] == "failed") == (x < 0 or x >= 6)
        wrong = "ValueError: ducks do not fit" if x < 0 else "ValueError: loss is nan"
        assert each["error"] == (wrong if each["state"] == "failed" else "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("train=lambda examples, seed: 1", ["all 20 trials", "unexpected keyword argument 'x'"]),
        ("space=lambda trial: trial.ducks()", ["all 20 trials", "no attribute 'ducks'"]),
        ("scores=lambda model, examples: {'auc': 1}", ["train.metric is 'loss'", "auc"]),
    ],
)
def test_a_search_that_cannot_work(project: Generated, change: str, words: list[str]) -> None:
    """It ends with the reason."""
    said = toy(
        project,
        f"""
try:
    searched(task({change}))
except ProjectError as error:
    print(json.dumps(str(error)))
""",
    )
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("trials: 0", "trials: -1", ["train.trials", "-1"]),
        ("trials: 0", "trials: many", ["train.trials", "many"]),
        ("search_minutes: 10", "search_minutes: 0", ["train.search_minutes", "0"]),
        ("nodes: 1", "nodes: 2", ["config/project.yaml: train", "`nodes: 1`", "`trials: 0`"]),
        ("trials: 0", 'trials: 5\n  metric: ""', ["config/project.yaml: train", "`metric`"]),
    ],
)
def test_settings_that_make_no_sense(
    project: Generated, old: str, new: str, words: list[str]
) -> None:
    """They are named before anything runs."""
    project.edit("config/project.yaml", old, new)
    if "nodes" in old:
        project.edit("config/project.yaml", "trials: 0", "trials: 5")
    project.make("check").failed(*words)
    project.make("run").failed(*words)


def test_a_run_that_searches(project: Generated, template: Template, copie_session: Copie) -> None:
    """It trains with what it found, says so, and records, shows and tracks it."""
    assert "search  " not in life("xgboost-regression", template, copie_session).first.out
    project.edit("config/project.yaml", "trials: 0", "trials: 12")
    said = project.make("run").succeeded().out
    record = project.last_run
    artifact = record["steps"]["train"]["artifacts"]["study"]
    study = json.loads(Path(artifact["uri"]).read_text("utf-8"))
    found = study["trials"][study["best"]]["values"]
    assert artifact["metadata"]["found"] == found
    assert artifact["metadata"]["trials"] == len(study["trials"]) == 12
    assert study["metric"] == record["lineage"]["settings"]["evaluate"]["metric"] == "rmse"
    assert study["lower_is_better"]
    configured = record["lineage"]["settings"]["train"]
    assert study["trials"][0]["values"] == {name: configured[name] for name in found}
    (line,) = re.findall(r"^search .*", said, re.MULTILINE)
    assert f"depth {found['depth']}" in line
    assert "12 trials" in line

    project.make("report").succeeded()
    folder = project.path / "artifacts/runs" / record["run_id"]
    page = (folder / "report.html").read_text("utf-8")
    assert sorted(map(int, re.findall(r'data-trial="(\d+)"', page))) == list(range(12))
    assert f"depth: {found['depth']}" in (folder / "model-card.md").read_text("utf-8")

    query = "select value from params join runs using (run_uuid) where key = ? and name = ?"
    with sqlite3.connect(project.path / "artifacts/mlflow.db") as database:
        tracked = database.execute(query, ["train.trees", record["run_id"]]).fetchall()
    assert tracked == [(str(found["trees"]),)]

    again = project.make("run").succeeded().out
    assert project.states["train"] == "cached"
    assert line in again, "a search of before is still what made the model"

    # Written down, it is the model that was found.
    sha256 = record["steps"]["train"]["artifacts"]["model"]["metadata"]["sha256"]
    project.edit("config/project.yaml", "trials: 12", "trials: 0")
    for name, value in found.items():
        project.edit("config/project.yaml", f"{name}: {configured[name]}", f"{name}: {value!r}")
    assert "search  " not in project.make("run").succeeded().out
    alone = project.last_run["steps"]["train"]["artifacts"]
    assert alone["model"]["metadata"]["sha256"] == sha256
    project.make("report").succeeded()
    folder = project.path / "artifacts/runs" / project.last_run["run_id"]
    assert 'id="search"' not in (folder / "report.html").read_text("utf-8")

    Path(artifact["uri"]).write_text("[]", encoding="utf-8")
    project.make("report", f"RUN={record['run_id']}").succeeded()


def test_a_metric_that_nobody_computes(project: Generated) -> None:
    """The step names those that there are."""
    project.edit("config/project.yaml", "trials: 0", "trials: 3\n  metric: auc")
    project.make("run").failed("train failed", "train.metric is 'auc'", "mae, r2, rmse")


@pytest.mark.parametrize("framework", ["scikit-learn", "xgboost"])
def test_classifiers(
    project: Generated, template: Template, tmp_path: Path, framework: str
) -> None:
    """They are searched as well, on folds with labels in the same proportion."""
    answers = {"model_framework": framework, "kubeflow_components": ["pipelines", "tuning"]}
    other = Generated(template.render(tmp_path / "other", **answers))
    (other.path / ".venv").symlink_to(project.path / ".venv")
    study = json.loads(
        other.python(
            """
import sys
sys.path.insert(0, "src")
from my_model import search as own
from runtime import search, sources
from tools.project import project

assert own.__file__.startswith(str(project().root)), own.__file__
frame = sources.read("sklearn:breast_cancer", max_bytes=2**30)
frame.to_parquet("data.parquet")
config = project().root / "config/project.yaml"
config.write_text(config.read_text().replace("trials: 0", "trials: 4"))
settings = project().settings("train")
shares = [judge["target"].eq("benign").mean() for _, judge in own.folds(frame, seed=0)]
assert max(shares) - min(shares) < 0.01, shares
print(search.search(own.TASK, "data.parquet", settings).to_json())
"""
        )
        .succeeded()
        .out.splitlines()[-1]
    )
    assert study["metric"] == "roc_auc"
    assert not study["lower_is_better"]
    best = study["trials"][study["best"]]
    assert study["trials"][0]["value"] <= best["value"] <= 1
    assert best["value"] > 0.95


@pytest.mark.usefixtures("project")
def test_an_older_project(template: Template, tmp_path: Path) -> None:
    """One without it chooses `tuning`, writes the lines of docs/tuning.md, and searches."""
    made = template.project(tmp_path / "older", kubeflow_components=["pipelines"])
    made.update(kubeflow_components=["pipelines", "tuning"])
    older = Generated(made.path)
    assert (older.package / "search.py").exists()
    page = made.read("docs/tuning.md")
    blocks = [each.partition("```")[0] for each in page.split("```python\n")[1:]]
    kind, search = (re.sub(r"^   ", "", each, flags=re.MULTILINE).strip("\n") for each in blocks)
    imported, _, head = kind.partition("\n\n\n")
    settings, component = "steps/train/settings.py", "steps/train/component.py"
    assert "runtime.search" not in made.read(component)
    test = "steps/train/test_train.py"
    argument = 'Artifact(name="study", uri=str(tmp_path / "study"))'
    needs = ['"optuna>=4.5"', '"runtime[s3]"']
    assert all(f"`{each}`" in page for each in [argument, *needs])
    older.edit(settings, "from runtime.settings import Settings", imported)
    older.edit(settings, "class StepSettings(Settings):", head)
    older.edit(component, "import Dataset, Input, Model", "import Artifact, Dataset, Input, Model")
    older.edit(component, "Output[Model])", "Output[Model], study: Output[Artifact])")
    older.edit(component, "    values = options.model_dump()\n", f"{indented(search)}\n")
    older.edit(test, "import Dataset, Model", "import Artifact, Dataset, Model")
    older.edit(test, ".model_dump_json(), model)", f".model_dump_json(), model, {argument})")
    needed = ", ".join(needs)
    older.edit("steps/train/pyproject.toml", '  "scikit-learn",', f'  "scikit-learn", {needed},')
    older.edit("config/project.yaml", "  regularisation: 1.0", "  regularisation: 1.0\n  trials: 3")
    older.make("setup", "golden", "format", "check").succeeded()
    older.make("test", f"ARGS={test}").succeeded()
    assert "search  " in older.make("run").succeeded().out
    metadata = older.last_run["steps"]["train"]["artifacts"]["study"]["metadata"]
    assert metadata["trials"] == 3


def indented(code: str) -> str:
    """Put code into a function."""
    return "\n".join(f"    {line}" if line else line for line in code.splitlines())


def tune(project: Generated, *arguments: str, **environment: str) -> Done:
    """Run the verb; no registry is asked for images."""
    code = f"""
import sys
from tools import screen, submit, tune
submit.require_images = lambda *_: None
tune.PAUSE = 0.1
sys.argv = ["tune", "--env", "dev", *{list(arguments)!r}]
screen.start(tune.tune)
"""
    return project.python(code, **environment)


def manifest(project: Generated, *arguments: str) -> Object:
    """Return the Experiment that `make tune CHECK=1` shows."""
    done = project.make("tune", "ENV=dev", "DATA=s3://bucket/train_data", "CHECK=1", *arguments)
    made: Object = yaml.safe_load(done.succeeded().out.partition("→")[0])
    return made


def test_a_space_in_katibs_terms(project: Generated) -> None:
    """Every kind of parameter, and back again from what Katib chooses."""
    made, values = toy(
        project,
        """
from tools import tune
def space(trial):
    return {
        "rate": trial.suggest_float("rate", 0.001, 0.1, log=True),
        "share": trial.suggest_float("share", 0.1, 0.9, step=0.2),
        "trees": trial.suggest_int("trees", 50, 500, step=50),
        "odd": trial.suggest_int("odd", 1, 9, step=2),
        "width": trial.suggest_int("width", 1, 1024, log=True),
        "kind": trial.suggest_categorical("kind", ["gbtree", "dart"]),
        "warm": trial.suggest_categorical("warm", [True, False, None, 3]),
    }
texts = {"rate": "0.05", "share": "0.45", "trees": "120", "odd": "10.0", "width": "7",
         "kind": "dart", "warm": "None"}
print(json.dumps([tune.parameters(trial.distributions(space)), trial.chosen(space, texts)]))
""",
    )
    kinds = {each["name"]: (each["parameterType"], each["feasibleSpace"]) for each in made}
    assert kinds == {
        "rate": ("double", {"min": "0.001", "max": "0.1", "distribution": "logUniform"}),
        "share": ("double", {"min": "0.1", "max": "0.9", "step": "0.2"}),
        "trees": ("int", {"min": "50", "max": "500", "step": "50"}),
        "odd": ("int", {"min": "1", "max": "9", "step": "2"}),
        "width": ("int", {"min": "1", "max": "1024", "distribution": "logUniform"}),
        "kind": ("categorical", {"list": ["gbtree", "dart"]}),
        "warm": ("categorical", {"list": ["True", "False", "None", "3"]}),
    }
    assert values.pop("share") == pytest.approx(0.5)
    assert values == {
        "rate": 0.05,
        "trees": 100,
        "odd": 9,
        "width": 7,
        "kind": "dart",
        "warm": None,
    }


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ('{"x": trial.suggest_categorical("x", [1, "1"])}', ["x", "written alike"]),
        ('{"x": trial.suggest_categorical("x", ["a b"])}', ["'a b' of x", "letters"]),
        ('{"x": trial.suggest_float("my x", 0, 1)}', ["'my x'", "letters"]),
        (
            '{"y": trial.suggest_float("y", 0, 1) if trial.suggest_int("x", 0, 1) else 0}',
            ["suggests y otherwise", "`trials` in config/project.yaml"],
        ),
        (
            '{"y": trial.suggest_float("y", 0, trial.suggest_int("x", 1, 2))}',
            ["suggests y otherwise"],
        ),
        ("{}", ["suggests nothing"]),
    ],
)
def test_a_space_that_katib_cannot_search(project: Generated, space: str, words: list[str]) -> None:
    """It is said what is in the way."""
    body = project.package / "search.py"
    pattern = re.compile(r"    return \{\n.*?\n    \}", re.DOTALL)
    text = pattern.sub(f"    return {space}", body.read_text("utf-8"), count=1)
    body.write_text(text, encoding="utf-8")
    project.make("tune", "ENV=dev", "DATA=s3://b/x", "CHECK=1").failed(*words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["DATA=", "train_data"]),
        (["DATA=artifacts/x"], ["DATA=", "'artifacts/x'"]),
        (["DATA=gs://b/x"], ["DATA is 'gs://b/x'", '"runtime[gcs]"', "steps/train/pyproject.toml"]),
        (["DATA=s3://b/x", "TRIALS=0"], ["trials"]),
        (["DATA=s3://b/x", "PARALLEL=none"], ["parallel"]),
        (["DATA=s3://b/x", "ENV=local"], ["'local' has no cluster"]),
        (["DATA=s3://b/x", "ENV=ducks"], ["there is no environment 'ducks'"]),
    ],
)
def test_what_it_needs_to_be_told(
    project: Generated, arguments: list[str], words: list[str]
) -> None:
    project.make("tune", "ENV=dev", *arguments).failed(*words)


def test_trials_are_like_the_step(project: Generated) -> None:
    """What the environment gives the step, a trial's pod has; it may do no more than it must."""
    dev = project.path / "config/environments/dev.yaml"
    content = yaml.safe_load(dev.read_text("utf-8"))
    given = {
        "cpu": 2,
        "cpu_limit": 4,
        "memory": "3Gi",
        "accelerator": {"type": "nvidia.com/gpu", "count": 1},
        "node_selector": {"pool": "gpu"},
        "tolerations": [{"key": "nvidia.com/gpu"}],
        "retries": 2,
        "timeout": "30m",
        "env": {"REGION": "eu"},
        "secrets": [{"name": "keys", "env": {"KEY": "a"}, "mount": "/keys"}],
        "volumes": [
            {"mount": "/data", "claim": "examples"},
            {"mount": "/scratch", "scratch": "1Gi"},
        ],
    }
    content |= {"steps": {"train": given}, "pull_secrets": ["registry"]}
    dev.write_text(yaml.safe_dump(content), encoding="utf-8")
    made = manifest(project, "TRIALS=7", "PARALLEL=9")
    spec = made["spec"]
    assert (spec["maxTrialCount"], spec["parallelTrialCount"]) == (7, 7)
    assert spec["objective"] == {"type": "minimize", "objectiveMetricName": "rmse"}
    job = spec["trialTemplate"]["trialSpec"]["spec"]
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (2, 1800)
    assert job["template"]["metadata"]["labels"] == {"sidecar.istio.io/inject": "false"}
    pod = job["template"]["spec"]
    assert pod["serviceAccountName"] == "my-model-pipeline"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    (container,) = pod["containers"]
    assert container["image"].startswith("ghcr.io/my-team/my-model-train:")
    assert container["resources"] == {
        "requests": {"cpu": "2", "memory": "3Gi"},
        "limits": {"cpu": "4", "memory": "3Gi", "nvidia.com/gpu": "1"},
    }
    mounted = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert volumes[mounted["/data"]]["persistentVolumeClaim"] == {"claimName": "examples"}
    assert volumes[mounted["/scratch"]]["emptyDir"] == {"sizeLimit": "1Gi"}
    assert volumes[mounted["/keys"]]["secret"] == {"secretName": "keys"}
    env = {each["name"]: each for each in container["env"]}
    assert env["REGION"]["value"] == "eu"
    assert env["KEY"]["valueFrom"]["secretKeyRef"] == {"name": "keys", "key": "a"}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["runAsNonRoot"]
    # Katib's own container in the pod runs as root.
    assert "securityContext" not in pod


def test_a_step_that_does_not_search(project: Generated) -> None:
    """Its image has nothing to try, so no trial is started."""
    component = "steps/train/component.py"
    project.edit(component, "from my_model.search import TASK", "TASK = None")
    done = project.make("tune", "ENV=dev", "DATA=s3://b/x", "CHECK=1")
    done.failed(component, "docs/tuning.md")


def test_data_in_kfps_own_store(project: Generated) -> None:
    """A trial reads it with the key that KFP keeps for it."""
    done = project.make("tune", "ENV=dev", "DATA=minio://mlpipeline/v2/train_data", "CHECK=1")
    spec = yaml.safe_load(done.succeeded().out.partition("→")[0])["spec"]
    (container,) = spec["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"]
    env = {each["name"]: each for each in container["env"]}
    assert json.loads(env["TRIAL"]["value"])["data"] == "s3://mlpipeline/v2/train_data"
    assert env["AWS_ENDPOINT_URL"]["value"].startswith("http://minio-service")
    secret = env["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"]
    assert secret == {"name": "mlpipeline-minio-artifact", "key": "secretkey"}


def test_a_trial_by_itself(project: Generated) -> None:
    """It prints the metric as Katib reads it, for what is in the Experiment; twice the same."""
    record = project.last_run
    data = record["steps"]["ingest"]["artifacts"]["train_data"]["uri"]
    spec = manifest(project)["spec"]
    (container,) = spec["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"]
    (variable,) = (each["value"] for each in container["env"] if each["name"] == "TRIAL")
    job = json.dumps({**json.loads(variable), "data": data})
    chosen = {"trees": "60", "depth": "2", "learning_rate": "0.1"}
    arguments = [
        re.sub(r"\$\{trialParameters\.(\w+)\}", lambda match: chosen[match[1]], each)
        for each in container["args"]
    ]
    # As Katib starts it: a shell, of which the output is read.
    command = " ".join([*container["command"], *arguments])

    def run(**change: str) -> subprocess.CompletedProcess[str]:
        venv = project.path / ".venv/bin"
        path = f"{venv}{os.pathsep}{machine()['PATH']}"
        environment = {**machine(), "PATH": path, "PYTHONPATH": ".:src", "TRIAL": job, **change}
        return subprocess.run(
            ["sh", "-c", command],
            cwd=project.path,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )

    done = run()
    assert done.returncode == 0, done.stderr
    # Katib's default filter.
    found = re.findall(r"([\w|-]+)\s*=\s*([+-]?\d*(?:\.\d+)?(?:[Ee][+-]?\d+)?)", done.stdout)
    ((name, value),) = found
    assert name == "rmse"
    assert 50 < float(value) < 70
    assert "'trees': 50" in done.stdout, "the nearest of its steps"
    assert run().stdout == done.stdout
    broken = run(TRIAL=job.replace('"rmse"', '"auc"'))
    assert broken.returncode != 0
    assert "train.metric is 'auc'" in broken.stderr
    assert "Traceback" not in broken.stderr


@pytest.fixture
def cluster() -> Iterator[None]:
    """Require Katib's kinds on the API server, and leave no Experiment there."""
    require("experiments.kubeflow.org")
    yield
    for kind in ("experiments.kubeflow.org", "trials.kubeflow.org"):
        ask("delete", kind, "--selector=app.kubernetes.io/part-of=my-model")


@pytest.mark.kubernetes
@pytest.mark.usefixtures("cluster")
def test_the_server_takes_it(project: Generated) -> None:
    """The server takes it, and every field is one of Katib's, its Job one of Kubernetes."""
    sent = manifest(project)
    created = ask("create", "--dry-run=server", "-o", "json", "-f", "-", content=sent)
    assert created.returncode == 0, created.stderr
    assert json.loads(created.stdout)["spec"] == sent["spec"]
    command = ["uv", "run", "--no-project", "--with", KATIB, "python", "-c", MODELS]
    modelled = subprocess.run(
        command,
        input=json.dumps(sent),
        env=machine(),
        check=False,
        capture_output=True,
        text=True,
    )
    assert modelled.returncode == 0, modelled.stderr
    spec = json.loads(modelled.stdout)["spec"]
    for key, value in sent["spec"].items():
        assert spec[key] == value
    assert len(sent["metadata"]["name"]) <= 40

    job = sent["spec"]["trialTemplate"]["trialSpec"]["spec"]
    assert accepted(job).returncode == 0, accepted(job).stderr
    broken = copy.deepcopy(job)
    broken["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRoot"] = True
    assert "readOnlyRoot" in accepted(broken).stderr
    broken = {**job, "activeDeadlineSeconds": "1h"}
    assert "activeDeadlineSeconds" in accepted(broken).stderr


def accepted(job: Object) -> subprocess.CompletedProcess[str]:
    """Have the server judge a Job, by a kind that has one in it: it has no Jobs of its own."""
    runtime = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": {"name": "trial"},
        "spec": {
            "mlPolicy": {},
            "template": {"spec": {"replicatedJobs": [{"name": "a", "template": {"spec": job}}]}},
        },
    }
    return ask("create", "--dry-run=server", "--validate=strict", "-f", "-", content=runtime)


def plays(values: list[float | None], condition: str, message: str = "") -> Thread:
    """Play Katib: as soon as there is an Experiment, make its trials, and end it."""

    def work() -> None:
        selector = "--selector=app.kubernetes.io/part-of=my-model"

        def found() -> Any:
            listed = json.loads(
                ask("get", "experiments.kubeflow.org", selector, "-o", "json").stdout
            )
            return listed["items"]

        (experiment,) = wait_for("Experiment", found)
        name = experiment["metadata"]["name"]
        for number, value in enumerate(values):
            given = {"trees": 100 + 50 * number, "depth": 1 + number, "learning_rate": 0.05}
            trial = f"{name}-{number}"
            labels = {
                "katib.kubeflow.org/experiment": name,
                "app.kubernetes.io/part-of": "my-model",
            }
            content = {
                "apiVersion": "kubeflow.org/v1beta1",
                "kind": "Trial",
                "metadata": {"name": trial, "labels": labels},
                "spec": {
                    "objective": experiment["spec"]["objective"],
                    "parameterAssignments": [
                        {"name": key, "value": str(chosen)} for key, chosen in given.items()
                    ],
                },
            }
            ask("create", "-f", "-", content=content)
            latest = "unavailable" if value is None else str(value)
            metrics = [{"name": "rmse", "latest": latest, "min": latest, "max": latest}]
            state = "MetricsUnavailable" if value is None else "Succeeded"
            reached = {"type": state, "status": "True"}
            says("trial", trial, [reached], observation={"metrics": metrics})
        ended = {"type": condition, "status": "True", "message": message}
        counts = {"trialsSucceeded": sum(value is not None for value in values)}
        says("experiment", name, [{"type": "Created", "status": "True"}, ended], **counts)

    thread = Thread(target=work, daemon=True)
    thread.start()
    return thread


def says(kind: str, name: str, conditions: list[Object], **status: Any) -> None:
    """Give an object of Katib's a status."""
    patch = json.dumps({"status": {"conditions": conditions, **status}})
    which = [f"{kind}s.kubeflow.org", name, "--subresource=status", "--type=merge"]
    done = ask("patch", *which, "--patch", patch)
    assert done.returncode == 0, done.stderr


@pytest.mark.kubernetes
@pytest.mark.usefixtures("cluster")
def test_an_experiment_that_succeeds(project: Generated) -> None:
    """It is followed, its best trials are shown, and their values can be written down and run."""
    katib = plays([60.0, 55.5, None, 58.0], "Succeeded")
    done = tune(project, "--data", "s3://b/train", "--trials", "4").succeeded()
    katib.join(timeout=60)
    assert "3 done" in done.err
    rows = re.findall(r"^(\d+(?:\.\d+)?) +(\d+) +(\d+) +0.05", done.out, re.MULTILINE)
    assert rows == [("55.5", "150", "2"), ("58", "250", "4"), ("60", "100", "1")]
    assert "The best of 3 trials; 1 more" in done.out
    lines = yaml.safe_load(done.out.partition("make run`:\n")[2])
    assert lines == {"train": {"trees": 150, "depth": 2, "learning_rate": 0.05}}
    name = re.findall(r"^experiment (\S+)", done.out)[0]
    again = tune(project, "--run", name).succeeded().out
    assert yaml.safe_load(again.partition("make run`:\n")[2]) == lines


@pytest.mark.kubernetes
@pytest.mark.usefixtures("cluster")
def test_an_experiment_that_fails(project: Generated) -> None:
    """Katib's reason is shown, and where to look."""
    katib = plays([None, None], "Failed", "Experiment has failed: too many trials")
    done = tune(project, "--data", "s3://b/train")
    katib.join(timeout=60)
    done.failed("no trial", "too many trials", "kubectl --namespace=default get trials")


@pytest.mark.kubernetes
@pytest.mark.usefixtures("cluster")
def test_a_cluster_that_is_not_ready(project: Generated, tmp_path: Path) -> None:
    """Without Katib, its label, or an answer, it is said what to do, and nothing is made."""
    real, path = kubectl(), f"{tmp_path}{os.pathsep}{machine()['PATH']}"
    double = tmp_path / "kubectl"
    answers = {
        '*api-resources*) echo "trainjobs.trainer.kubeflow.org"': ["has no Katib", "`trials`"],
        """*"get namespace"*) echo '{"metadata": {"labels": {}}}'""": [
            "kubectl label namespace default katib.kubeflow.org/metrics-collector-injection=enabled"
        ],
        '*create*) echo "Error: experiments is forbidden" >&2; exit 1': ["you may not do this"],
        '*"get --namespace"*) echo "connection refused" >&2; exit 1': [
            "does not answer",
            "make tune ENV=dev RUN=my-model-",
        ],
    }
    for answer, words in answers.items():
        script = (
            f'#!/usr/bin/env bash\ncase "$*" in\n  {answer} ;;\n  *) exec {real} "$@" ;;\nesac\n'
        )
        double.write_text(script, encoding="utf-8")
        double.chmod(0o755)
        tune(project, "--data", "s3://b/train", PATH=path).failed(*words)
    tune(project, "--run", "ducks").failed("there is no Experiment 'ducks'")
