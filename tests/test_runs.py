"""What a project says and leaves behind when it, its data or the machine is not as it should be."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from conftest import Template, git
from projects import Done, Generated, flavour

pytestmark = pytest.mark.project
on = partial(pytest.mark.parametrize, "project", indirect=True)
# One is enough for what does not depend on task or framework, and each worker has its share.
LAPTOP = on([flavour("laptop")])
REGRESSION = on([flavour("xgboost-regression")])
STOPPED = {130, -signal.SIGINT}


@pytest.fixture
def generate(template: Template, tmp_path: Path) -> Callable[[str], Generated]:
    """Give a function that generates a project, before any `make setup`."""
    return lambda name: Generated(template.render(tmp_path / name))


def log_of(done: Done, project: Generated) -> str:
    """Read the log that a failed run points to."""
    (line,) = (line for line in done.err.splitlines() if ".log" in line)
    return (project.path / line[line.index("artifacts/") :].strip()).read_text("utf-8")


@LAPTOP
def test_data_that_breaks_the_schema(project: Generated) -> None:
    """Row and rule are named; the page with the profile and the log are there to be read."""
    project.shipped_data("data/mine.csv", 'frame.loc[17, "mean radius"] = -3.0')
    project.source("data/mine.csv")
    done = project.make("run").failed("validate", "mean radius", "-3", "row", "in_range")
    assert project.states["validate"] == "failed"
    assert project.states["train"] == "not reached"
    assert "mean radius" in log_of(done, project)
    assert "kfp" not in done.err
    project.make("check").succeeded()


@REGRESSION
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["data/mine.csv"]),
        (b"", ["data/mine.csv"]),
        (b"age,sex\n", ["data/mine.csv", "no rows"]),
        (b"\xff\xfe\x00\x01", ["data/mine.csv"]),
        (b"age,sex,bmi,bp,s1,s2,s3,s4,s5,s6,targt\n", ["data/mine.csv"]),
        (b"age,sex\n1,2\n3,4\n5,6\n", ["bmi"]),
    ],
    ids=["missing", "empty", "no rows", "no text", "no rows and another column", "other columns"],
)
def test_data_that_cannot_be_used(
    project: Generated, content: bytes | None, words: list[str]
) -> None:
    """The file is named, and what is wrong with it."""
    if content is not None:
        (project.path / "data").mkdir()
        (project.path / "data/mine.csv").write_bytes(content)
    project.source("data/mine.csv")
    project.make("run").failed(*words)


@LAPTOP
def test_an_error_in_the_teams_own_code(project: Generated) -> None:
    """The step shows its own error and where its log is, nothing of KFP; the next run goes on."""
    model = project.package / "model.py"
    text = model.read_text("utf-8")
    mistake = '    raise ValueError("ducks do not fit")\n'
    model.write_text(text.replace('"""Fit preprocessing', f'"""Fit.\n    """\n{mistake}    """', 1))
    done = project.make("run").failed("train", "ValueError: ducks do not fit (src/")
    line = model.read_text("utf-8").splitlines().index(mistake.rstrip()) + 1
    assert f"{project.package.name}/model.py line {line}, in train)" in done.err
    assert "Traceback" in log_of(done, project)
    assert len(done.err.splitlines()) <= 6, done.err
    assert project.last_run["state"] == "failed"
    model.write_text(text)
    project.make("run").succeeded()


@REGRESSION
def test_a_file_that_is_not_python(project: Generated) -> None:
    """File and line are named before anything runs."""
    model = project.package / "model.py"
    model.write_text("def train(:\n")
    where = f"✗ src/{project.package.name}/model.py line 1: invalid syntax: def train(:"
    project.make("run").failed(where)


@REGRESSION
def test_settings_that_are_gone(project: Generated) -> None:
    """The step's file is named."""
    (project.path / "steps/train/settings.py").unlink()
    done = project.make("run").failed("steps/train/settings.py is missing", "git")
    assert "Traceback" not in done.err


@REGRESSION
def test_ctrl_c(project: Generated) -> None:
    """It stops at once, the exit code says so, nothing runs on, and the next run succeeds."""
    model = project.package / "model.py"
    text = model.read_text("utf-8")
    model.write_text(f"import time\n\ntime.sleep(300)\n{text}")
    done = project.interrupt("run", project.started("train.log"))
    assert done.code in STOPPED
    assert "Traceback" not in done.said, done.said
    assert project.last_run["state"] == "interrupted"
    model.write_text(text)
    project.make("run").succeeded()
    assert project.last_run["state"] == "succeeded"


@LAPTOP
def test_ctrl_c_in_the_first_step(project: Generated) -> None:
    """What it has half-written is not taken for finished, nor by the next run."""
    (project.path / "steps/ingest/component.py").open("a").write("# An edit.\n")
    done = project.interrupt("run", project.started("ingest.log"))
    assert done.code in STOPPED
    assert "Traceback" not in done.said, done.said
    project.make("run").succeeded()
    assert project.states["ingest"] == "ran"


@REGRESSION
def test_ctrl_c_while_it_starts(project: Generated) -> None:
    """A verb that is still importing what it needs is stopped with a sentence, too."""
    done = project.python("import tools; raise KeyboardInterrupt")
    assert done.code in STOPPED
    assert "Traceback" not in done.said, done.said
    assert "stopped" in done.err


@REGRESSION
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["PIPELINE=trainin"], ["trainin", "training"]),
        (["PIPELINE=../training"], ["../training", "training"]),
        (["PIPELINE="], ["training"]),
        (["ENV=prd"], ["prd", "local"]),
        (["ENV="], ["local"]),
    ],
)
def test_an_argument_that_names_nothing(
    project: Generated, arguments: list[str], words: list[str]
) -> None:
    """What there is instead is listed."""
    project.make("run", *arguments).failed(*words)


@LAPTOP
@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "config/project.yaml",
            "regularisation: ",
            "regularization: ",
            ["train", "regularisation"],
        ),
        ("config/project.yaml", "min_rows: 100", "min_rows: many", ["validate.min_rows", "many"]),
        ("config/project.yaml", "min_rows: 100", 'min_rows: "100"', ["validate.min_rows"]),
        ("config/project.yaml", "seed: 6", "seed: -6", ["ingest.seed", "-6"]),
        ("config/project.yaml", "test_fraction: 0.2", "test_fraction: 20", ["test_fraction", "20"]),
        ("config/project.yaml", "metric: roc_auc", "metric: auc", ["evaluate.metric", "roc_auc"]),
        ("config/project.yaml", "validate:", "validat:", ["validat"]),
        ("config/project.yaml", "validate:", "validate: [", ["config/project.yaml", "line"]),
        ("config/project.yaml", "epoch: 0", "epoch: -1", ["images", "epoch"]),
        ("config/project.yaml", "source: sklearn:", "source: sklern:", ["ingest", "sklern:"]),
        (
            "config/environments/local.yaml",
            "model_store: ",
            "store: ",
            ["local.yaml", "model_store"],
        ),
    ],
)
def test_a_wrong_setting(
    project: Generated, file: str, old: str, new: str, words: list[str]
) -> None:
    """`make check` and `make run` both name it, and nothing runs."""
    project.edit(file, old, new)
    runs = len(list(project.path.glob("artifacts/runs/*")))
    for verb in ("check", "run"):
        project.make(verb).failed(*words)
    assert len(list(project.path.glob("artifacts/runs/*"))) == runs


@LAPTOP
def test_style_and_layers(project: Generated) -> None:
    """`make check` says what is wrong with the code, and which import goes the wrong way."""
    (project.package / "wrong.py").write_text("import os\nfrom tools import run\n")
    project.make("check").failed("wrong.py", "F401", "tools", "make format")


@LAPTOP
def test_a_problem_that_two_checks_find(project: Generated) -> None:
    """It is said once, and nothing is said of style."""
    project.edit("config/environments/dev.yaml", "namespace:", "namspace:")
    done = project.make("check").failed("settings:", "namspace", "Mend what is named above")
    assert done.err.count("dev.yaml.namspace") == 1
    assert "make format" not in done.err


@REGRESSION
def test_a_changed_pipeline_is_seen(project: Generated) -> None:
    """The golden file notices; `make golden` accepts."""
    project.edit("pipelines/training.py", "worth-registering", "worth-keeping")
    changed = project.make("test", "ARGS=tests/contracts/test_pipelines.py")
    assert changed.code != 0
    assert "make golden" in changed.said
    project.make("golden").succeeded()
    project.make("test", "ARGS=tests/contracts/test_pipelines.py").succeeded()
    assert git(project.path, "diff", "--name-only").split() == [
        "pipelines/training.py",
        "tests/golden/monitoring.yaml",
        "tests/golden/training.yaml",
    ]


def test_no_network_at_setup(generate: Callable[[str], Generated], tmp_path: Path) -> None:
    """It says what is missing; with the network, the same command succeeds."""
    project = generate("project")
    offline = {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "cache")}
    project.make("setup", **offline).failed("network")
    project.make("run", **offline).failed("network")
    project.make("setup").succeeded()


def test_no_python_that_fits(generate: Callable[[str], Generated], tmp_path: Path) -> None:
    """The version that is asked for is named."""
    project = generate("project")
    project.make("setup", UV_PYTHON="3.8", UV_PYTHON_DOWNLOADS="never").failed("3.8")
    nothing = {"UV_PYTHON_PREFERENCE": "only-managed", "UV_PYTHON_INSTALL_DIR": str(tmp_path)}
    project.make("setup", UV_PYTHON_DOWNLOADS="never", **nothing).failed("3.11")


@pytest.mark.parametrize("name", ["my-python3-project", "my project", "r&d", "my$project", "it's"])
def test_a_path_that_kfp_cannot_run_in(generate: Callable[[str], Generated], name: str) -> None:
    """It is refused at setup, with what to do; the likely ones before anything is installed."""
    project = generate(name)
    project.make("setup").failed("path", "move")
    if " " in name or "python3" in name:
        assert not (project.path / ".venv").exists()


def test_without_uv_and_without_network(
    generate: Callable[[str], Generated], tmp_path: Path
) -> None:
    """When uv can be found nowhere, it says so, and leaves nothing of it behind."""
    project = generate("project")
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("awk", "bash", "dirname", "env", "make", "mkdir", "rm", "sh", "touch"):
        (folder / tool).symlink_to(next(p for p in tool_paths(tool)))
    (folder / "python3").symlink_to(Path(sys.base_prefix) / "bin/python3")
    nowhere = "https://127.0.0.1:9/simple"
    offline = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": None,
        "PIP_INDEX_URL": nowhere,
        "PIP_RETRIES": "0",
        "UV_DEFAULT_INDEX": nowhere,
    }
    project.make("setup", PATH=str(folder), **offline).failed("uv could not be installed")
    assert not (project.path / ".uv").exists()


def tool_paths(tool: str) -> Iterator[Path]:
    """Find a program on the PATH."""
    for folder in os.environ["PATH"].split(os.pathsep):
        if (path := Path(folder) / tool).exists():
            yield path
