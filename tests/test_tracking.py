"""MLflow: what a run leaves there, and what happens when it is not there."""

import json
import sqlite3
from typing import Any

import pytest
from projects import Generated, flavour

pytestmark = [
    pytest.mark.project,
    pytest.mark.parametrize("project", [flavour("xgboost-regression")], indirect=True),
]


def tracked(project: Generated, query: str) -> list[Any]:
    """Ask the project's own database of runs."""
    with sqlite3.connect(project.path / "artifacts/mlflow.db") as database:
        return database.execute(query).fetchall()


def test_a_run_is_tracked_with_its_model(project: Generated) -> None:
    """Parameters, metrics, model and record; a run that repeats nothing adds nothing."""
    project.edit("config/project.yaml", "trees: 200", "trees: 190")
    project.make("run").succeeded()
    record = project.last_run
    ((uuid, folder),) = tracked(
        project,
        f"select run_uuid, artifact_uri from runs where name = '{record['run_id']}'",  # noqa: S608
    )
    found = dict(tracked(project, f"select key, value from params where run_uuid = '{uuid}'"))  # noqa: S608
    assert found["train.trees"] == "190"
    found = dict(tracked(project, f"select key, value from metrics where run_uuid = '{uuid}'"))  # noqa: S608
    assert found == pytest.approx(record["metrics"])
    artifacts = project.path / folder.removeprefix(f"file://{project.path}/")
    assert json.loads((artifacts / "run.json").read_text("utf-8")) == record
    assert (artifacts / "model/manifest.json").exists()

    compared = json.loads(project.make("compare", "SOURCE=mlflow", "JSON=1").succeeded().out)
    assert record["run_id"] in {run["run_id"] for run in compared["runs"]}

    before = tracked(project, "select count(*) from runs")
    project.make("run").succeeded()
    assert tracked(project, "select count(*) from runs") == before


def test_a_failed_run_is_tracked_as_such(project: Generated) -> None:
    """Its state is not that of a good one."""
    project.edit("config/project.yaml", "min_rows: 100", "min_rows: 100000")
    project.edit("config/project.yaml", "  seed: 6", "  seed: 8")
    project.make("run").failed("min_rows")
    name = project.last_run["run_id"]
    states = tracked(project, f"select status from runs where name = '{name}'")  # noqa: S608
    assert states == [("FAILED",)]


def test_a_server_that_does_not_answer(project: Generated) -> None:
    """The run is good all the same, and a line says what it lacks."""
    project.edit("config/project.yaml", "trees: 200", "trees: 180")
    done = project.make(
        "run", MLFLOW_TRACKING_URI="http://127.0.0.1:9", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"
    ).succeeded()
    assert "MLflow at http://127.0.0.1:9 did not take it" in done.out
    assert "Traceback" not in done.said
