"""Training on several nodes, as processes of this machine."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Template
from projects import Generated, flavour, life, restored
from pytest_copie.plugin import Copie

pytestmark = [
    pytest.mark.project,
    pytest.mark.parametrize("project", [flavour("xgboost-regression")], indirect=True),
]
BOOST = "booster = xgboost.train(settings, share, trees)"


@pytest.fixture
def project(
    request: pytest.FixtureRequest, template: Template, copie_session: Copie
) -> Iterator[Generated]:
    """Give a project that trains on two nodes, and restore it."""
    with restored(life(request.param, template, copie_session).project) as project:
        project.edit("config/project.yaml", "nodes: 1", "nodes: 2")
        yield project


def on_node(project: Generated, rank: int, does: str) -> None:
    """Have one node do something, just before the trees are grown."""
    module = next(project.path.glob("src/*/distributed.py")).relative_to(project.path)
    project.edit(
        str(module), BOOST, f"if node.rank == {rank}:\n            {does}\n        {BOOST}"
    )


def nodes_left(project: Generated) -> list[str]:
    """List the nodes of a project that run."""
    listed = subprocess.check_output(["ps", "-Awwo", "args="], text=True).splitlines()
    return [line for line in listed if "runtime.node" in line and str(project.path) in line]


def test_the_model_is_one_like_any_other(project: Generated) -> None:
    """It is judged, registered, released and asked as one that a single node has trained."""
    project.make("run").succeeded()
    assert project.states["train"] == "ran"
    together = project.last_run
    assert together["lineage"]["settings"]["train"]["nodes"] == 2
    project.edit("config/project.yaml", "nodes: 2", "nodes: 1")
    project.make("run").succeeded()
    alone = project.last_run
    assert together["metrics"] == pytest.approx(alone["metrics"], rel=0.05)
    model = together["steps"]["register"]["parameters"]["Output"]
    project.make("release", f"RUN={model}").succeeded()
    assert model in project.make("predict").succeeded().out
    project.make("run", "PIPELINE=batch_prediction").succeeded()


def test_three_classes_on_three_nodes(
    project: Generated, template: Template, tmp_path: Path
) -> None:
    """A classifier with more labels than two, on shares that are not halves."""
    answers = {"model_framework": "xgboost", "kubeflow_components": ["pipelines", "training"]}
    other = Generated(template.render(tmp_path / "classifier", **answers))
    (other.path / ".venv").symlink_to(project.path / ".venv")
    other.python(
        f"""
import os, sys
sys.path.insert(0, "src")
os.environ["PYTHONPATH"] = os.pathsep.join([os.getcwd(), os.path.abspath("src")])
from pathlib import Path
import numpy as np
from my_model import model
from my_model.distributed import train_jointly
from runtime import distributed, models, sources
from tools.project import project

assert model.__file__.startswith({str(other.path)!r}), model.__file__
frame = sources.read("sklearn:breast_cancer", max_bytes=2**30)
frame.loc[frame["mean radius"] > 18, "target"] = "large"
frame.to_parquet("data.parquet")
options = project().settings("train").model_dump()
folder = Path("model").absolute()
sha256 = distributed.launch(
    train_jointly, nodes=3, data="data.parquet", options=options, model=str(folder), folder=folder
)
together = models.load(folder, sha256=sha256, trusted_packages=["my_model"])
alone = model.train(frame, **options)
assert list(together.classes_) == ["benign", "large", "malignant"]
same = np.mean(model.predict(together, frame) == model.predict(alone, frame))
assert same > 0.98, same
"""
    ).succeeded()


def test_a_node_that_is_killed(project: Generated) -> None:
    """It is named, with how it ended; none is left."""
    on_node(project, 1, "__import__('os').kill(__import__('os').getpid(), 9)")
    done = project.make("run").failed("train", "node 1 of 2", "SIGKILL")
    assert "node 1 of 2: " in done.err, "the end of its log"
    assert nodes_left(project) == []


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_on_a_node(project: Generated, rank: int) -> None:
    """The error is the one of the node that has it, not of those that lost it."""
    on_node(project, rank, 'raise ValueError("ducks do not fit")')
    done = project.make("run").failed(f"node {rank} of 2", "ValueError: ducks do not fit")
    assert "lost" not in done.err
    assert nodes_left(project) == []


def test_ctrl_c(project: Generated) -> None:
    """No node goes on."""
    on_node(project, 1, '__import__("time").sleep(300)')
    done = project.interrupt("run", lambda: len(nodes_left(project)) == 2)
    assert done.code in {130, -signal.SIGINT}
    assert "Traceback" not in done.said
    assert nodes_left(project) == []


def test_a_number_that_makes_no_sense(project: Generated) -> None:
    """It is named, and nothing runs."""
    project.edit("config/project.yaml", "nodes: 2", "nodes: 0")
    project.make("check").failed("train.nodes", "0")
    project.make("run").failed("train.nodes", "0")
