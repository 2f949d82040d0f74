"""Recent rows of a made-up model: what is read of them, what is found, what is decided, shown."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.pipeline import Pipeline

from runtime import models, monitoring, predictions
from runtime.errors import ProjectError
from runtime.monitoring import Findings, Released, Science
from runtime.payloads import INPUT, Exchange, PayloadStore
from runtime.records import Data, Lineage, ModelRecord
from runtime.reference import Reference
from runtime.store import ModelStore
from runtime.watch import Watch

pytest.importorskip("prometheus_client", reason="the step `monitor` is not in this project")
from runtime import gauges, monitoring_page

TARGET = "truth"
MODEL, OTHER = "a" * 64, "b" * 12
BILLION = 10**9
SCHEMA = pa.DataFrameSchema(
    {
        "x": pa.Column(float, pa.Check.in_range(-100, 100)),
        "big": pa.Column("int64"),
        "colour": pa.Column(str),
        "constant": pa.Column(float, nullable=True),
    },
    strict=True,
)
NOW = datetime.now(UTC)


def rows(count: int, *, seed: int = 1, shift: float = 0.0, noise: float = 0.0) -> pd.DataFrame:
    """Rows of which the truth follows from `x`, but for a share that is `noise`."""
    random = np.random.default_rng(seed)
    x = random.normal(shift, 1, count)
    truth = x + random.normal(0, 0.5, count) > 0
    turned = random.random(count) < noise
    return pd.DataFrame(
        {
            "x": x,
            "big": BILLION + random.integers(0, 1000, count),
            "colour": random.choice(["red", "green"], count),
            "constant": 5.0,
            TARGET: np.where(truth ^ turned, "yes", "no"),
        }
    )


def answered(model: Pipeline, table: pd.DataFrame) -> pd.DataFrame:
    return predictions.predict(
        model, table, schema=SCHEMA, columns=list(SCHEMA.columns), answer=answer
    )


def answer(model: Pipeline, table: pd.DataFrame) -> Any:
    return model.predict(table)


def scores(model: Pipeline, table: pd.DataFrame) -> dict[str, float]:
    return {"accuracy": float(accuracy_score(table[TARGET], model.predict(table)))}


def record(metrics: Mapping[str, float], sha256: str = MODEL) -> ModelRecord:
    known = {"version": "v1", "sha256": "2" * 64, "rows": 1000}
    return ModelRecord(
        model_id=sha256[:12],
        sha256=sha256,
        uri="",
        registered_at=NOW.isoformat(),
        data=Data.of(known, known),
        metrics=dict(metrics),
        champion=None,
        champion_metrics=None,
        reason="",
        lineage=Lineage(
            pipeline="",
            git_commit=None,
            git_dirty=False,
            lock_sha256="",
            images={},
            settings={"evaluate": {"metric": "accuracy"}},
        ),
    )


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the bootstrap, so that these tests are fast."""
    monkeypatch.setattr(monitoring, "RESAMPLED", 20)


@pytest.fixture(scope="module")
def science() -> Science:
    return Science(
        schema=SCHEMA, target=TARGET, answer=answer, scores=scores, lower_is_better=set()
    )


@pytest.fixture(scope="module")
def released() -> Released:
    """A model that takes account of `x` alone, and the profile of 2,000 rows held out."""
    train, held_out = rows(2000, seed=11), rows(2000, seed=12)
    take = ColumnTransformer([("take", "passthrough", ["x"])])
    model = Pipeline([("take", take), ("guess", LogisticRegression())])
    model.fit(train.drop(columns=TARGET), train[TARGET])
    asked = held_out.drop(columns=TARGET)
    reference = Reference.of_model(asked, answered(model, asked))
    return Released(record(scores(model, held_out)), model, reference, NOW.isoformat())


def table_of(table: pd.DataFrame, folder: Path, **options: Any) -> Watch:
    """The options to look at a table."""
    path = folder / "recent.parquet"
    table.to_parquet(path, row_group_size=400)
    return Watch(source=str(path), **options)


def log_of(
    released: Released,
    table: pd.DataFrame,
    folder: Path,
    *,
    days_ago: float = 0.1,
    model_id: str = "",
    columns: list[str] | None = None,
    name: str = "r",
) -> PayloadStore:
    """A payload log, two rows to a request, `r0`, `r1`, …"""
    asked = table.drop(columns=TARGET)
    answers = answered(released.model, asked)
    store = PayloadStore(str(folder / "log"))
    kept = asked[columns] if columns else asked
    store.write(
        [
            Exchange(
                request_id=f"{name}{first // 2}",
                time=datetime.now(UTC) - timedelta(days=days_ago),
                model="m",
                model_id=model_id or released.record.model_id,
                rows=len(kept.iloc[first : first + 2]),
                inputs=kept.iloc[first : first + 2].to_dict("list"),
                outputs=answers.iloc[first : first + 2].to_dict("list"),
            )
            for first in range(0, len(table), 2)
        ]
    )
    return store


def watch(store: PayloadStore, **options: Any) -> Watch:
    return Watch(source=f"payloads:{store.uri}", **options)


def truth_of(table: pd.DataFrame, folder: Path, change: Any = None) -> str:
    """A file of labels, for the requests of `log_of`."""
    place = np.arange(len(table))
    told = pd.DataFrame(
        {"request_id": [f"r{n // 2}" for n in place], "row": place % 2, TARGET: table[TARGET]}
    )
    path = folder / "labels.parquet"
    (change(told) if change else told).to_parquet(path)
    return str(path)


# A table.


def test_nothing_has_changed(released: Released, science: Science, tmp_path: Path) -> None:
    found = monitoring.look(released, table_of(rows(1000), tmp_path), science)
    assert (found.verdict, found.state, found.quality.state) == ("keep", "steady", "steady")
    assert (found.rows, found.quality.rows) == (1000, 1000)
    assert (found.unwatched, found.broken, found.other_rows) == ([], [], 0)
    names = {column.name for column in found.columns}
    assert names == {*SCHEMA.columns, "answer", "probability yes", "probability no"}


def test_the_inputs_have_moved(released: Released, science: Science, tmp_path: Path) -> None:
    """The column, and what the model answers because of it; with the truth, whether it matters."""
    found = monitoring.look(released, table_of(rows(1000, shift=1), tmp_path), science)
    assert (found.verdict, found.state) == ("retrain", "drift")
    drifted = {column.name for column in found.columns if column.state == "drift"}
    assert drifted == {"x", "answer", "probability yes", "probability no"}
    assert "x by " in found.reason or "probability" in found.reason
    assert max(c.distance or 0.0 for c in found.columns) == pytest.approx(0.38, abs=0.1)


def test_the_world_has_moved(released: Released, science: Science, tmp_path: Path) -> None:
    """The inputs are as they were, and the model is wrong more often."""
    table = rows(1000, noise=0.2)
    found = monitoring.look(released, table_of(table, tmp_path), science)
    assert (found.verdict, found.state, found.quality.state) == ("retrain", "steady", "worse")
    assert "accuracy" in found.reason
    # Better is not worse.
    better = replace(released, record=record({"accuracy": 0.5}))
    assert monitoring.look(better, table_of(table, tmp_path), science).quality.state == "steady"
    # Unless less is better.
    errors = replace(science, lower_is_better={"accuracy"})
    assert monitoring.look(better, table_of(table, tmp_path), errors).quality.state == "worse"


@pytest.mark.parametrize(
    ("retrain_on", "drifted", "worse"),
    [
        pytest.param(["drift"], "retrain", "keep", id="drift"),
        pytest.param(["quality"], "keep", "retrain", id="quality"),
        pytest.param([], "keep", "keep", id="neither"),
    ],
)
def test_what_is_trained_on(
    released: Released,
    science: Science,
    tmp_path: Path,
    retrain_on: Any,
    drifted: str,
    worse: str,
) -> None:
    """The alarm is raised and told all the same."""
    for table, verdict in ((rows(1000, shift=0.5), drifted), (rows(1000, noise=0.2), worse)):
        # Of inputs alone, so that each table gives one alarm.
        name = f"{INPUT}x"
        few = replace(
            released, reference=Reference(columns={name: released.reference.columns[name]})
        )
        options = table_of(table, tmp_path, retrain_on=retrain_on)
        found = monitoring.look(few, options, science)
        assert found.verdict == verdict
        assert (found.state == "drift") != (found.quality.state == "worse")
        assert ("retrain_on" in found.reason) == (verdict == "keep")


def test_broken_rows_are_named_and_never_trained_on(
    released: Released, science: Science, tmp_path: Path
) -> None:
    table = rows(1000, shift=2)
    table.loc[[3, 500], "x"] = 1000.0
    table.loc[3, "colour"] = None
    found = monitoring.look(released, table_of(table, tmp_path), science)
    assert (found.verdict, found.state, found.broken_rows) == ("keep", "drift", 2)
    assert "schema" in found.reason
    assert any("'x'" in rule and "1000" in rule for rule in found.broken)
    assert any("'colour'" in rule for rule in found.broken)
    # A column that a table does not have breaks the schema as well.
    found = monitoring.look(released, table_of(table.drop(columns="x"), tmp_path), science)
    assert found.verdict == "keep"
    assert any("'x' is missing" in rule for rule in found.broken)
    assert "x" in found.unwatched


@pytest.mark.parametrize(
    ("column", "value"),
    [
        pytest.param("big", 2**62, id="an integer that no float holds"),
        pytest.param("big", -BILLION, id="a negative one"),
        pytest.param("constant", np.nan, id="nothing but NaN"),
        pytest.param("constant", 6.0, id="another constant"),
        pytest.param("colour", "<b>$\\ungültig$</b>", id="a new category"),
    ],
)
def test_a_column_of_one_value(
    released: Released, science: Science, tmp_path: Path, column: str, value: Any
) -> None:
    """It has drifted, is a page, and gauges."""
    table = rows(300).assign(**{column: value})
    found = monitoring.look(released, table_of(table, tmp_path), science)
    (only,) = (each for each in found.columns if each.state == "drift")
    assert only.name == column
    assert found.verdict == "retrain"
    assert Findings.from_json(found.to_json()) == found
    assert column in monitoring_page.page(found)
    assert gauges.gauges(found).get_sample_value("model_drift", {"state": "drift"}) == 1


@pytest.mark.parametrize("count", [1, 49])
def test_few_rows(released: Released, science: Science, tmp_path: Path, count: int) -> None:
    """Nothing is guessed from them."""
    found = monitoring.look(released, table_of(rows(count, shift=9), tmp_path), science)
    assert (found.verdict, found.state, found.quality.state) == ("keep", "unknown", "unknown")
    assert f"{count} rows" in found.quality.reason
    assert "too little is known" in found.reason
    monitoring_page.page(found)


# Quality.


def test_a_metric_that_fails(released: Released, science: Science, tmp_path: Path) -> None:
    """On all rows, or on some samples of them: it is said, and the drift is told all the same."""
    calls = iter(range(10**6))

    def always(model: Pipeline, table: pd.DataFrame) -> dict[str, float]:
        raise ZeroDivisionError("no such rows")

    def mostly(model: Pipeline, table: pd.DataFrame) -> dict[str, float]:
        return scores(model, table) if next(calls) % 3 == 0 else always(model, table)

    options = table_of(rows(300, shift=2), tmp_path)
    for metric, words in ((always, "ZeroDivisionError: no such rows"), (mostly, "too few")):
        found = monitoring.look(released, options, replace(science, scores=metric))
        assert found.quality.state == "unknown"
        assert words in found.quality.reason
        assert found.verdict == "retrain"


def test_other_metrics_than_then(released: Released, science: Science, tmp_path: Path) -> None:
    options = table_of(rows(300), tmp_path)
    for then in ({"f1": 0.5}, {}):
        older = replace(released, record=record(then))
        found = monitoring.look(older, options, science)
        assert found.quality.state == "unknown"
        assert found.quality.now.keys() == {"accuracy"}
        monitoring_page.page(found)
        gauges.gauges(found)


# The payload log.


def test_the_log_is_read_by_day_and_model(
    released: Released, science: Science, tmp_path: Path
) -> None:
    """What is older, or was answered by another model, takes no part; the latter is counted."""
    for days_ago, name in ((0.1, "r"), (1.5, "s"), (6.5, "t"), (7.5, "u")):
        log_of(released, rows(200, seed=int(days_ago * 10)), tmp_path, days_ago=days_ago, name=name)
    store = log_of(released, rows(100, shift=50), tmp_path, model_id=OTHER, name="o")
    found = monitoring.look(released, watch(store), science)
    assert (found.rows, found.other_rows, found.unwatched) == (600, 100, [])
    assert (found.verdict, found.state) == ("keep", "steady")
    assert found.quality.state == "unknown"
    assert "of none of these rows" in found.quality.reason
    assert monitoring.look(released, watch(store, days=1), science).rows == 200
    assert monitoring.look(released, watch(store, days=0.01), science).rows == 0
    assert monitoring.look(released, watch(store, days=8), science).rows == 800
    found = monitoring.look(replace(released, record=record({}, "c" * 64)), watch(store), science)
    assert (found.rows, found.other_rows) == (0, 700)
    assert found.verdict == "keep"
    assert "no rows of this model" in found.reason


def test_an_empty_log(released: Released, science: Science, tmp_path: Path) -> None:
    """Nothing has come yet: this is said, on the page too; it is neither drift nor an error."""
    found = monitoring.look(released, watch(PayloadStore(str(tmp_path / "none"))), science)
    assert (found.verdict, found.state, found.rows) == ("keep", "unknown", 0)
    assert "no rows of this model" in found.reason
    assert found.unwatched == []
    monitoring_page.page(found)
    assert gauges.gauges(found).get_sample_value("model_drift_rows") == 0


def test_columns_that_are_not_logged(released: Released, science: Science, tmp_path: Path) -> None:
    """Are named as not watched; of the others, drift is found, and broken rows."""
    table = rows(400, shift=1)
    store = log_of(released, table, tmp_path, columns=["x", "colour"])
    labels = truth_of(table, tmp_path)
    found = monitoring.look(released, watch(store, labels=labels), science)
    assert found.unwatched == ["big", "constant"]
    assert (found.state, found.broken) == ("drift", [])
    # The metrics need all columns.
    assert found.quality.state == "unknown"
    assert "2 columns" in found.quality.reason
    assert found.quality.rows == 400


def test_a_rule_across_columns_of_which_one_is_not_logged(
    released: Released, science: Science, tmp_path: Path
) -> None:
    """Cannot be looked at, and is not called broken."""
    rule = pa.Check(lambda table: table["big"] > table["x"], name="big is bigger")
    ruled = pa.DataFrameSchema(SCHEMA.columns, checks=rule, strict=True)
    store = log_of(released, rows(200), tmp_path, columns=["x"])
    found = monitoring.look(released, watch(store), replace(science, schema=ruled))
    assert (found.verdict, found.broken) == ("keep", [])


def test_labels_that_come_late(released: Released, science: Science, tmp_path: Path) -> None:
    """Some rows have one, some have two: the last counts; a request without `row` is of one row."""
    table = rows(400, noise=0.3)
    store = log_of(released, table, tmp_path)

    def quality(change: Any) -> monitoring.QualityFound:
        labels = truth_of(table, tmp_path, change)
        options = watch(store, labels=labels, days=1)
        return monitoring.look(released, options, science).quality

    every = quality(None)
    assert (every.state, every.rows) == ("worse", 400)
    some = quality(lambda told: told.head(49))
    assert (some.state, some.rows) == ("unknown", 49)
    assert quality(lambda told: told.drop(columns="row")).rows == 200
    assert quality(lambda told: told.assign(truth=None)).rows == 0
    assert quality(lambda told: told.assign(request_id="another")).rows == 0
    right = rows(400)
    twice = quality(lambda told: pd.concat([told, told.assign(truth=right[TARGET])]))
    assert (twice.state, twice.rows) == ("steady", 400)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda t: t.drop(columns="request_id"), "no column 'request_id'", id="no id"),
        pytest.param(lambda t: t.drop(columns=TARGET), f"no column '{TARGET}'", id="no target"),
        pytest.param(lambda t: t.assign(row=0.5), "'row' must be whole numbers", id="half a row"),
        pytest.param(lambda t: t.assign(row="x"), "'row' must be whole numbers", id="a word"),
        pytest.param(lambda t: t.head(0), "holds no rows", id="empty"),
    ],
)
def test_labels_that_cannot_be_read(
    released: Released, science: Science, tmp_path: Path, change: Any, words: str
) -> None:
    table = rows(60)
    options = watch(log_of(released, table, tmp_path), labels=truth_of(table, tmp_path, change))
    with pytest.raises(ProjectError, match=words):
        monitoring.look(released, options, science)


def test_numbers_among_the_ids_of_requests(
    released: Released, science: Science, tmp_path: Path
) -> None:
    """In CSV they are as they were sent, zeros in front of them too."""
    table = rows(60)
    store = log_of(released, table, tmp_path, name="00")
    ids = [f"00{n // 2}" for n in range(60)]
    told = pd.DataFrame({"request_id": ids, "row": np.arange(60) % 2, TARGET: table[TARGET]})
    told.to_csv(tmp_path / "labels.csv", index=False)
    options = watch(store, labels=str(tmp_path / "labels.csv"))
    assert monitoring.look(released, options, science).quality.rows == 60


# What is shown and told.


def test_the_page_is_safe(released: Released, science: Science, tmp_path: Path) -> None:
    """Names and values are shown as they are, and nothing of them is run."""
    bad = "<script>alert(1)</script>"
    table = rows(300)
    values = np.where(table["x"] > 0, "<b>bold</b>", "$\\q$")
    asked = table.drop(columns=TARGET).rename(columns={"x": bad}).assign(colour=values)
    reference = Reference.of_model(asked, pd.DataFrame(index=asked.index))
    named = {bad if name == "x" else name: column for name, column in SCHEMA.columns.items()}
    schema = pa.DataFrameSchema(named, strict=True)
    now = table.rename(columns={"x": bad}).assign(colour="<img src=x onerror=alert(2)>", big=-1)
    now.loc[0, bad] = 10_000.0
    indifferent = DummyClassifier().fit(asked, table[TARGET])
    found = monitoring.look(
        replace(released, reference=reference, model=Pipeline([("guess", indifferent)])),
        table_of(now, tmp_path),
        replace(science, schema=schema, answer=lambda model, rows: ["<i>$x$</i>"] * len(rows)),
    )
    page = monitoring_page.page(found)
    assert "<script" not in page
    assert "<img" not in page
    assert "<i>$" not in page
    assert "<b>" not in page
    assert "$\\q$" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;img src=x onerror=alert(2)&gt;" in page
    assert page.count("<svg") == page.count("</svg>") >= 3
    assert "default-src 'none'" in page


def test_no_released_model_can_be_found(released: Released, tmp_path: Path) -> None:
    """Which one is missing is said, and what to do."""
    store = ModelStore(str(tmp_path))
    load = {"trusted": []}
    with pytest.raises(ProjectError, match="make release"):
        monitoring.released(str(tmp_path), "", **load)
    sha256 = models.save(released.model, tmp_path / "made")
    with pytest.raises(ProjectError, match=f"'{sha256[:12]}' is registered"):
        monitoring.released(str(tmp_path), sha256, **load)
    known = record({"accuracy": 0.9}, sha256)
    summary = {"candidate": known.metrics, "champion": None, "reason": ""}
    store.register(
        tmp_path / "made",
        sha256=sha256,
        data=known.data,
        summary=summary,
        champion="",
        lineage=known.lineage,
        note="",
    )
    with pytest.raises(ProjectError, match="no reference profile"):
        monitoring.released(str(tmp_path), sha256, **load)
    store.keep_profile(sha256[:12], released.reference.complete())
    found = monitoring.released(str(tmp_path), sha256, **load)
    assert found.reference == released.reference
    assert found.last_training == found.record.registered_at
    store.keep_profile(sha256[:12], {"columns": {"x": {"kind": "ducks"}}})
    with pytest.raises(ProjectError, match=f"the profile of model {sha256[:12]}"):
        monitoring.released(str(tmp_path), sha256, **load)
    profile = json.loads((tmp_path / sha256[:12] / "profile.json").read_text())
    assert profile["columns"]["x"] == {"kind": "ducks"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"query": "select 1"}, "remove the query"),
        ({"source": "duckdb:a.db"}, "add the query"),
        ({"source": "recent.txt"}, "must end in"),
        ({"labels": "labels.xlsx"}, "must end in"),
        ({"labels": "duckdb:a.db"}, "add the query"),
        ({"retrain_on": ["ducks"]}, "'drift' or 'quality'"),
        ({"alpha": 0.0}, "alpha"),
        ({"distance": 2.0}, "distance"),
        ({"days": 0}, "days"),
        ({"pushgateway": "ducks"}, "pushgateway"),
        ({"pushgateway": "ftp://gateway:9091"}, "pushgateway"),
    ],
)
def test_wrong_settings(options: Any, words: str) -> None:
    with pytest.raises(ProjectError, match=words):
        Watch.parse(options, where="config/project.yaml: monitor")
