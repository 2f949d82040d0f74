"""The payload log keeps what config/payloads.yaml lists, once, for as long as it says, no more."""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ProjectError
from runtime.events import REQUEST, RESPONSE, headers
from runtime.payloads import MEGABYTE, Exchange, PayloadSettings, PayloadStore
from runtime.protocols import RequestError
from runtime.sink import Sink
from serving.predictor import INPUT
from tools.payloads import refuse_unknown
from tools.project import project

ALL = PayloadSettings(sampling=1, columns=["a", "b"])
TODAY = date(2026, 3, 9)


@pytest.fixture
def store(tmp_path: Path) -> PayloadStore:
    return PayloadStore(str(tmp_path / "log"))


def told(sink: Sink, kind: str, content: Any, request_id: str = "one") -> str:
    """Tell a sink of a request or an answer."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return sink.take(headers(kind, request_id, model="m"), body)


def v1(*rows: Any) -> dict[str, Any]:
    return {"instances": list(rows)}


def answers(*values: Any) -> dict[str, Any]:
    rows = [{"answer": value} for value in values]
    return {"predictions": rows, "model_name": "m", "model_version": "v"}


def exchange(request_id: str, day: date = TODAY, **inputs: list[Any]) -> Exchange:
    return Exchange(
        request_id=request_id,
        time=datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
        model="m",
        model_id="v",
        rows=len(next(iter(inputs.values()))),
        inputs=inputs,
        outputs={},
    )


def test_the_columns_are_the_models() -> None:
    refuse_unknown(project().payloads)
    with pytest.raises(ProjectError, match=str(next(iter(INPUT.columns)))):
        refuse_unknown(PayloadSettings(columns=["a column that is not there"]))


def test_nothing_is_kept_unless_it_is_asked_for(store: PayloadStore) -> None:
    sink = Sink(PayloadSettings(), store)
    assert told(sink, REQUEST, v1({"a": 1})) == "not sampled"
    assert told(sink, RESPONSE, answers(1)) == "not sampled"
    assert not sink.waiting


def test_a_column_that_is_not_listed_is_not_kept(store: PayloadStore) -> None:
    sink = Sink(PayloadSettings(sampling=1, columns=["a"]), store)
    told(sink, REQUEST, v1({"a": 1, "b": "private"}))
    told(sink, RESPONSE, answers("x"))
    store.write(sink.waiting)
    kept = store.read()
    assert kept.inputs.to_dict("list") == {"a": [1]}
    assert kept.outputs.to_dict("list") == {"answer": ["x"]}
    assert all(b"private" not in path.read_bytes() for path in Path(store.uri).rglob("*.parquet"))


def test_the_halves_come_in_any_order_and_more_than_once(store: PayloadStore) -> None:
    sink = Sink(ALL, store)
    v2 = {"inputs": [{"name": "a", "shape": [2], "datatype": "FP64", "data": [3.5, None]}]}
    answered = {"outputs": [{"name": "answer", "data": [1, 2]}], "model_version": "w"}
    for kind, content, request_id in (
        (RESPONSE, answers(True, False), "one"),
        (REQUEST, v2, "two"),
        (REQUEST, v2, "two"),
        (REQUEST, v1({"a": 1, "b": "x"}, {"a": 2, "b": None}), "one"),
        (RESPONSE, answered, "two"),
        (RESPONSE, answered, "two"),
        (REQUEST, v2, "two"),
    ):
        assert told(sink, kind, content, request_id) in ("taken", "duplicate")
    store.write(sink.waiting)
    store.write(sink.waiting)
    kept = store.read()
    assert kept.asked["request_id"].tolist() == ["one", "one", "two", "two"]
    assert kept.asked["row"].tolist() == [0, 1, 0, 1]
    assert kept.asked["model_id"].tolist() == ["v", "v", "w", "w"]
    assert kept.inputs["a"].tolist()[:3] == [1, 2, 3.5]
    assert kept.inputs.isna().sum().to_dict() == {"a": 1, "b": 3}


def test_sampling_keeps_both_halves_or_none(store: PayloadStore) -> None:
    sink = Sink(PayloadSettings(sampling=0.5), store)
    for number in range(400):
        told(sink, REQUEST, v1({"a": 1}), str(number))
        told(sink, RESPONSE, answers(1), str(number))
    assert 150 < len(sink.waiting) < 250


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (b"", "other"),
        ({"name": "m", "ready": True}, "other"),
        (v1([1, 2]), "taken"),
        (v1({"a": {}}), "taken"),
    ],
)
def test_what_is_no_prediction_leaves_nothing(
    store: PayloadStore, content: Any, outcome: str
) -> None:
    sink = Sink(ALL, store)
    assert told(sink, REQUEST, content) == outcome
    told(sink, RESPONSE, answers(1))
    assert all(not kept.inputs for kept in sink.waiting)


@pytest.mark.parametrize(
    ("change", "body", "reason"),
    [
        ({"ce-id": ""}, b"{}", "ce-id"),
        ({"ce-id": "x" * 300}, b"{}", "ce-id"),
        ({"ce-type": "ducks"}, b"{}", "ce-type"),
        ({"ce-specversion": "0.3"}, b"{}", "ce-specversion"),
        ({}, b"ducks", "JSON"),
        ({}, b"[]", "object"),
    ],
)
def test_what_is_no_event_is_refused(
    store: PayloadStore, change: dict[str, str], body: bytes, reason: str
) -> None:
    with pytest.raises(RequestError, match=reason):
        Sink(ALL, store).take({**headers(REQUEST, "one", model="m"), **change}, body)


def test_old_days_are_removed_and_the_oldest_first_for_room(store: PayloadStore) -> None:
    for age in range(5):
        store.write([exchange(str(age), TODAY - timedelta(days=age), a=[0.5] * 10)])
    (Path(store.uri) / "mine.parquet").write_text("not the log's")
    assert store.tidy(PayloadSettings(retention_days=4), TODAY) == 1
    assert store.tidy(PayloadSettings(retention_days=4), TODAY) == 0
    assert set(store.read().asked["request_id"]) == {"0", "1", "2", "3"}
    noise = [number * 0.1234567 for number in range(80_000)]
    store.write([exchange("large", TODAY, a=noise)])
    assert store.tidy(PayloadSettings(max_megabytes=2), TODAY) == 0
    store.write([exchange("larger", TODAY, a=[-number for number in noise])])
    assert store.tidy(PayloadSettings(max_megabytes=2), TODAY) > 3
    files = sorted(Path(store.uri).rglob("day=*/*"))
    assert sum(file.stat().st_size for file in files) <= 2 * MEGABYTE
    assert set(store.read().asked["request_id"]) == {"larger"}
    assert (Path(store.uri) / "mine.parquet").exists()


def test_a_request_is_forgotten(store: PayloadStore) -> None:
    store.write([exchange("one", a=[1, 2]), exchange("two", a=[3])])
    store.write([exchange("three", a=[4])])
    assert store.forget(["one", "three", "four"]) == 3
    assert store.read().asked["request_id"].tolist() == ["two"]
    assert len(list(Path(store.uri).rglob("*.parquet"))) == 1


def test_a_part_of_the_time_is_read(store: PayloadStore) -> None:
    days = [TODAY + timedelta(days=number) for number in range(3)]
    store.write([exchange(str(day), day, a=[1]) for day in days])
    start = datetime(2026, 3, 10, tzinfo=UTC)
    kept = store.read(since=start, until=start + timedelta(days=1))
    assert kept.asked["request_id"].tolist() == ["2026-03-10"]
    assert store.read(until=start - timedelta(days=9)).asked.empty


def test_columns_of_several_types_are_read(store: PayloadStore) -> None:
    """A client sends what it likes, today a number and tomorrow a text."""
    for number, values in enumerate([[1], [2.5], ["x"], [None], [True], [1, "y"], [2**64]]):
        store.write([exchange(str(number), a=values, b=[1] * len(values))])
    kept = store.read()
    assert kept.inputs["a"].dropna().map(type).eq(str).all()
    assert kept.inputs["b"].tolist() == [1] * 8


def test_what_comes_during_the_last_write_is_written(
    store: PayloadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server is told to end while a slow store still takes what was there."""
    sink = Sink(PayloadSettings(sampling=1, flush_rows=1), store)
    written: list[str] = []

    def ask(request_id: str) -> None:
        told(sink, REQUEST, v1({"a": 1}), request_id)
        told(sink, RESPONSE, answers(1), request_id)

    def write(exchanges: list[Exchange]) -> None:
        if not written:
            ask("last")
            sink.stop()
        written.extend(each.request_id for each in exchanges)

    monkeypatch.setattr(store, "write", write)
    ask("first")
    asyncio.run(sink.keep_writing())
    assert written == ["first", "last"]


def test_what_cannot_be_written_waits(store: PayloadStore) -> None:
    sink = Sink(ALL, store)
    told(sink, REQUEST, v1({"a": 1}))
    told(sink, RESPONSE, answers(1))
    Path(store.uri).write_text("a file where the folder should be")
    asyncio.run(sink.flush())
    assert not sink.ready
    assert len(sink.waiting) == 1
    with pytest.raises(ProjectError, match="cannot be written"):
        store.prepare()
    Path(store.uri).unlink()
    asyncio.run(sink.flush())
    assert sink.ready
    assert not sink.waiting
    assert len(store.read().asked) == 1
