"""The model server with this project's schema and hooks: answers, and refusals that say why."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline
from starlette.applications import Starlette

from runtime import datasets, models
from runtime.acceptance import Acceptance
from runtime.errors import ProjectError
from runtime.records import Data, Lineage, ModelRecord
from runtime.served import from_folder
from runtime.server import Endpoints, Server
from runtime.validation import validated
from serving import predictor

Ask = Callable[..., httpx.Response]
COLUMNS = list(predictor.INPUT.columns)
V1, V2 = "/v1/models/tried:predict", "/v2/models/tried/infer"


@pytest.fixture(scope="module")
def rows(parts: tuple[pd.DataFrame, pd.DataFrame]) -> list[dict[str, Any]]:
    return datasets.sample(parts[1][COLUMNS], rows=7)


@pytest.fixture(scope="module")
def folder(
    fitted: Pipeline, rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A registered model as a container gets it."""
    made = tmp_path_factory.mktemp("registered")
    sha256 = models.save(fitted, made / "model")
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
            pipeline="",
            git_commit=None,
            git_dirty=False,
            lock_sha256="",
            images={},
            settings={},
        ),
    )
    (made / "record.json").write_text(record.model_dump_json())
    (made / "sample.json").write_text(json.dumps({"instances": rows}))
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Server:
    return Server("tried", predictor, from_folder(folder))


@pytest.fixture(scope="module")
def ask(server: Server) -> Ask:
    """Send a request to the server: JSON or raw content by POST, without either GET."""
    app = Starlette(routes=Endpoints(server, max_bytes=100_000).routes())

    async def send(path: str, **content: Any) -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://server"
        ) as client:
            return await client.request("POST" if content else "GET", path, **content)

    return lambda path, **content: asyncio.run(send(path, **content))


def tensors(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "shape": [len(rows)],
            "datatype": "BYTES" if isinstance(rows[0][name], str) else "FP64",
            "data": [row[name] for row in rows],
        }
        for name in COLUMNS
    ]


def test_both_protocols_answer_as_the_hooks_do(
    ask: Ask, fitted: Pipeline, rows: list[dict[str, Any]]
) -> None:
    frame = predictor.INPUT.validate(pd.DataFrame(rows))
    expected = {name: values.tolist() for name, values in predictor.predict(fitted, frame).items()}
    said = ask(V1, json={"instances": rows}).json()["predictions"]
    by_v1 = {name: [row[name] for row in said] for name in said[0]}
    said = ask(V2, json={"inputs": tensors(rows)}).json()["outputs"]
    by_v2 = {tensor["name"]: tensor["data"] for tensor in said}
    assert by_v1 == by_v2
    assert by_v1.keys() == expected.keys()
    for name, values in expected.items():
        same = values if isinstance(values[0], str) else pytest.approx(values, rel=1e-6)
        assert by_v1[name] == same


def test_what_is_accepted_fast_is_what_the_schema_accepts(rows: list[dict[str, Any]]) -> None:
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    fast = Acceptance(predictor.INPUT).frame(columns)
    if fast is not None:
        slow, wrong = validated(pd.DataFrame(columns, dtype=object), predictor.INPUT)
        assert not wrong
        pd.testing.assert_frame_equal(fast, slow)


def test_a_missing_column_is_named(ask: Ask, rows: list[dict[str, Any]]) -> None:
    row = {name: value for name, value in rows[0].items() if name != COLUMNS[0]}
    refused = ask(V1, json={"instances": [row]})
    assert refused.status_code == 400
    assert COLUMNS[0] in refused.json()["error"]


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "{}", '{"instances": 1}', '{"instances": []}', '{"inputs": [{}]}', "NaN"],
)
def test_what_is_no_request_is_refused(ask: Ask, body: str) -> None:
    for path in (V1, V2):
        refused = ask(path, content=body)
        assert refused.status_code == 400
        assert refused.json()["error"]


def test_a_request_that_is_too_large_is_refused(ask: Ask) -> None:
    assert ask(V1, content=b" " * 100_001).status_code == 413


def test_an_error_in_the_model_is_told_without_what_is_inside(
    ask: Ask, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a secret")

    monkeypatch.setattr(predictor, "predict", fail)
    failed = ask(V1, json={"instances": rows})
    assert failed.status_code == 500
    assert failed.json()["id"]
    assert "secret" not in failed.text


def test_the_metadata_say_which_model_it_is(ask: Ask, server: Server) -> None:
    said = ask("/v2/models/tried").json()
    assert said["versions"] == [server.version]
    assert [tensor["name"] for tensor in said["inputs"]] == COLUMNS


def test_a_changed_model_is_not_served(folder: Path) -> None:
    path = next((folder / "model").glob("*.skops"))
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    try:
        with pytest.raises(ProjectError, match="changed"):
            from_folder(folder)
    finally:
        path.write_bytes(content)
