"""The model server answers held-out rows as the pipeline's own code does; and if not, it shows."""

import importlib
import json
from collections.abc import Iterator

import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from runtime import datasets, models
from runtime.records import Data, Lineage, ModelRecord
from serving import predictor
from tools import profiles, skew
from tools.predict import Protocol, Server
from tools.project import project

ROWS = 25


@pytest.fixture(scope="module")
def rows(parts: tuple[pd.DataFrame, pd.DataFrame]) -> pd.DataFrame:
    return parts[1].head(ROWS)


@pytest.fixture(scope="module")
def predictions(fitted: Pipeline, rows: pd.DataFrame) -> pd.DataFrame:
    """What the pipeline's own code writes down for the rows: no hook of the server, no JSON."""
    evaluation = importlib.import_module(f"{project().package}.evaluation")
    if not hasattr(evaluation, "predictions"):
        pytest.skip("evaluation.py has no `predictions`: `make skew` compares after a run")
    found: pd.DataFrame = evaluation.predictions(fitted, rows)
    return found.drop(columns=profiles.TRUTH, errors="ignore")


@pytest.fixture(scope="module")
def server(
    fitted: Pipeline, rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The real server, around the model that the project trains."""
    folder = tmp_path_factory.mktemp("registered")
    sha256 = models.save(fitted, folder / "model")
    known = {"version": "v1", "sha256": "2" * 64, "rows": 1}
    record = ModelRecord(
        model_id=sha256[:12],
        sha256=sha256,
        uri="",
        registered_at="",
        data=Data.of(known, known),
        metrics={},
        champion=None,
        champion_metrics=None,
        reason="",
        lineage=Lineage(
            pipeline="", git_commit=None, git_dirty=False, lock_sha256="", images={}, settings={}
        ),
        note="",
    )
    (folder / "record.json").write_text(record.model_dump_json())
    sample = datasets.sample(rows[list(predictor.INPUT.columns)], 7)
    (folder / "sample.json").write_text(json.dumps({"instances": sample}))
    with skew.started({"MODEL_FOLDER": str(folder)}) as server:
        yield server


def test_the_server_answers_as_the_pipeline_does(
    server: Server, rows: pd.DataFrame, predictions: pd.DataFrame
) -> None:
    replays = skew.replayed(server, rows, predictions)
    assert {replay.protocol for replay in replays} == {*Protocol}
    assert {replay.rows for replay in replays} == {min(skew.ROWS_ALONE, len(rows)), len(rows)}
    for replay in replays:
        assert replay.first is None, f"{replay.protocol}, {replay.at_once} at once: {replay.first}"


def test_a_difference_is_found(
    server: Server, rows: pd.DataFrame, predictions: pd.DataFrame
) -> None:
    """Otherwise the test above would hold nothing."""
    other = predictions.copy()
    row, column = len(rows) - 1, "answer"
    answer = other[column].iloc[row]
    changed = answer * 1.0001 + 1e-3 if isinstance(answer, float) else f"not {answer}"
    other[column] = [*other[column].iloc[:row], changed]
    for replay in skew.replayed(server, rows, other):
        assert replay.first is not None
        assert (replay.first.row, replay.first.column) == (row, column)
