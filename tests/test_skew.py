"""`make skew`: the server's answers beside the pipeline's, and what is said when they differ."""

import json
import shutil
from collections.abc import Iterator

import pytest
from conftest import Template
from projects import ONLINE, Generated, flavour, life, restored
from pytest_copie.plugin import Copie

pytestmark = pytest.mark.project
LAPTOP = pytest.mark.parametrize("project", [flavour("laptop")], indirect=True)
EVERY = pytest.mark.parametrize("project", ONLINE, indirect=True)
PREDICTOR = "serving/predictor.py"


@pytest.fixture
def project(
    request: pytest.FixtureRequest, template: Template, copie_session: Copie
) -> Iterator[Generated]:
    """Give a project in which the model of the last run is released."""
    with restored(life(request.param, template, copie_session).project) as made:
        made.make("run").succeeded()
        # Not the newest, which another test may have registered.
        model = made.last_run["steps"]["register"]["parameters"]["Output"]
        made.make("release", f"RUN={model}").succeeded()
        yield made


@EVERY
def test_no_skew(project: Generated) -> None:
    """By both protocols, one row at a time and many at once."""
    done = project.make("skew").succeeded()
    rows = [line.split() for line in done.out.splitlines() if line.startswith("v")]
    assert [row[:2] for row in rows] == [
        ["v1", "one"],
        ["v1", "many"],
        ["v2", "one"],
        ["v2", "many"],
    ]
    held_out = project.last_run["steps"]["ingest"]["artifacts"]["test_data"]["metadata"]["rows"]
    assert {int(row[2]) for row in rows} == {50, int(held_out)}
    model = project.last_run["steps"]["register"]["parameters"]["Output"]
    project.make("skew", f"RUN={model}").succeeded()


@LAPTOP
def test_skew_is_found(project: Generated) -> None:
    """A number that is a little off, and a label; in `make skew` and in `make test`."""
    project.edit(PREDICTOR, "column for label, column", "column * 1.00001 for label, column")
    done = project.make("skew").failed("row 0", "column 'probability benign'", "make run")
    assert "e-05" in done.out or "e-06" in done.out
    test = project.make("test", "ARGS=tests/contracts/test_skew.py")
    assert test.code != 0
    assert "column 'probability benign'" in test.out
    project.edit(PREDICTOR, "column * 1.00001 for label, column", "column for label, column")
    project.edit(PREDICTOR, "science.predict(model, rows)", "science.predict(model, rows)[::-1]")
    done = project.make("skew").failed("column 'answer'", "benign", "malignant")
    assert "another label" in done.out


@LAPTOP
def test_code_that_has_changed_since(project: Generated) -> None:
    """The pipeline's own code, used by both: only what the run wrote down shows it."""
    project.edit(
        f"src/{project.package.name}/model.py",
        "def predict(",
        "def predict(model, rows):\n    return before(model, rows)[::-1]\n\n\ndef before(",
    )
    project.make("skew").failed("column 'answer'", "make run")


@LAPTOP
def test_it_cannot_be_told(project: Generated) -> None:
    """No model, no rows, no server: each is said with what to do."""
    project.edit(PREDICTOR, "probabilities = ", 'raise ValueError("ducks")\n    probabilities = ')
    project.make("skew").failed("does not answer its sample", "ducks")
    project.edit(PREDICTOR, 'raise ValueError("ducks")\n    ', "")
    project.edit(
        PREDICTOR, '"answer": science', '"answer": science.predict(model, rows), "a": science'
    )
    project.edit(PREDICTOR, "return {", "return {")
    assert "not compared: a" in project.make("skew").succeeded().out
    folder = project.path / "artifacts/outputs"
    folder.rename(folder.with_name("elsewhere"))
    try:
        project.make("skew").failed("not here any more", "make run", "RUN=")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_name("elsewhere").rename(folder)
    project.edit("config/environments/local.yaml", "artifacts/models", "artifacts/none")
    project.make("skew").failed("no model is registered", "make run")


@LAPTOP
def test_types_that_json_does_not_have(project: Generated) -> None:
    """Whole numbers, gaps, truth values, categories and dates compare as they are."""
    code = """
import json
import pandas as pd
from runtime import datasets
from tools import skew
from tools.predict import Protocol

known = pd.DataFrame({
    "whole": pd.array([1, None, 3], dtype="Int64"),
    "gaps": [0.1, None, 3.0],
    "truth": [True, False, True],
    "category": pd.Categorical(["a", None, "b"]),
    "date": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"]),
})
said = pd.DataFrame(datasets.sample(known, 3))
numbers = known.index.to_numpy()
same = skew.compare(Protocol.v1, 3, numbers, said, known)
said.loc[1, "gaps"] = 0.5
other = skew.compare(Protocol.v1, 3, numbers, said, known)
print(json.dumps([same.worst, same.first is None, other.first.row, other.first.column]))
"""
    found = json.loads(project.python(code).succeeded().out)
    assert found == [0.0, True, 1, "gaps"]
