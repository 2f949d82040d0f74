"""The step by itself: registered once, known by its hash."""

import json
from pathlib import Path

import pytest
from kfp.dsl import Dataset, Metrics, Model

from runtime.records import Lineage
from runtime.store import ModelStore
from steps.register.component import register

SHA256 = "0123456789ab" + "0" * 52


@pytest.fixture
def lineage() -> Lineage:
    return Lineage(
        pipeline="training",
        git_commit="c" * 40,
        git_dirty=False,
        lock_sha256="1" * 64,
        images={"train": "train:tag"},
        settings={"train": {"seed": 7}},
    )


def run(folder: Path, lineage: Lineage) -> str:
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "manifest.json").write_text("{}")
    summary = {"candidate": {"score": 0.9}, "champion": None, "reason": "the first"}
    (folder / "metrics").write_text(json.dumps(summary))
    known = {"version": "v1", "sha256": "2" * 64, "rows": 10.0}
    model_id: str = register.python_func(
        Model(name="model", uri=str(folder / "model"), metadata={"sha256": SHA256}),
        Dataset(name="train_data", uri="", metadata=known),
        Dataset(name="test_data", uri="", metadata=known),
        Metrics(name="metrics", uri=str(folder / "metrics")),
        "",
        str(folder / "store"),
        lineage.model_dump_json(),
        '{"note": "try"}',
    )
    return model_id


def test_the_record_says_where_the_model_comes_from(tmp_path: Path, lineage: Lineage) -> None:
    model_id = run(tmp_path, lineage)
    record = ModelStore(str(tmp_path / "store")).find(model_id)
    assert record is not None
    assert SHA256.startswith(model_id)
    assert record.lineage == lineage
    assert record.metrics == {"score": 0.9}
    assert record.data.train_rows == 10
    assert record.note == "try"
    assert (Path(record.uri) / "manifest.json").read_text() == "{}"


def test_the_same_model_of_a_later_commit_keeps_its_record(
    tmp_path: Path, lineage: Lineage
) -> None:
    first = run(tmp_path, lineage)
    later = Lineage(**{**lineage.model_dump(), "git_commit": "d" * 40})
    assert run(tmp_path, later) == first
    record = ModelStore(str(tmp_path / "store")).find(first)
    assert record is not None
    assert record.lineage.git_commit == "c" * 40


def test_registering_releases_nothing(tmp_path: Path, lineage: Lineage) -> None:
    run(tmp_path, lineage)
    assert ModelStore(str(tmp_path / "store")).champion() == ""
