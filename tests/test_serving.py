"""A model is released, served and asked; what is wrong with a request or a model is said."""

import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Template
from projects import ONLINE, Generated, flavour, life, restored
from pytest_copie.plugin import Copie

from scripts.serving_proof import PROTOCOLS, Running, fuzz, load, request, serving

pytestmark = pytest.mark.project
LAPTOP = pytest.mark.parametrize("project", [flavour("laptop")], indirect=True)
EVERY = pytest.mark.parametrize("project", ONLINE, indirect=True)
STORE = "artifacts/models"
FUZZED = 1000
GROWTH = 20
"""MiB by which the server may grow over all these requests."""


@pytest.fixture
def project(
    request: pytest.FixtureRequest, template: Template, copie_session: Copie
) -> Iterator[Generated]:
    """Give a project that has run; what is released in it is taken back."""
    champion = Path(STORE) / "champion.json"
    with restored(life(request.param, template, copie_session).project) as made:
        made.make("run").succeeded()
        yield made
        (made.path / champion).unlink(missing_ok=True)


def trained(project: Generated) -> str:
    """Return the id of the model that the newest run made."""
    model: str = project.last_run["steps"]["register"]["parameters"]["Output"]
    return model


def release(project: Generated) -> str:
    """Release the model that the newest run made."""
    model = trained(project)
    project.make("release", f"RUN={model}").succeeded()
    return model


def held_out(project: Generated) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Read the held-out rows, and what the pipeline itself predicted for them."""
    steps = project.last_run["steps"]
    inputs = steps["ingest"]["artifacts"]["test_data"]["uri"]
    predictions = steps["evaluate"]["artifacts"]["predictions"]["uri"]
    done = project.python(
        f"""
import json
import pandas as pd
from serving.predictor import INPUT
rows = pd.read_parquet({inputs!r})[list(INPUT.columns)]
answers = pd.read_parquet({predictions!r}).loc[rows.index].drop(columns="truth")
print(json.dumps([rows.to_dict("records"), answers.to_dict("records")]))
"""
    ).succeeded()
    rows, answers = json.loads(done.out)
    return rows, answers


def ask(server: Running, protocol: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the server's answers, a row each whatever the protocol."""
    body = json.dumps(request(protocol, rows)).encode()
    status, said = server.ask(server.path(protocol), body)
    assert status == 200, said
    answer = json.loads(said)
    if protocol == "v1":
        predictions: list[dict[str, Any]] = answer["predictions"]
        return predictions
    columns = {tensor["name"]: tensor["data"] for tensor in answer["outputs"]}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def refused(server: Running, body: bytes, protocol: str = "v1") -> dict[str, Any]:
    """Return what the server says of a request that it refuses."""
    status, said = server.ask(server.path(protocol), body)
    assert status == 400, said
    told: dict[str, Any] = json.loads(said)
    return told


@LAPTOP
def test_release(project: Generated) -> None:
    """It says what was released before; `make run` then compares with what is released."""
    model, run = trained(project), project.last_run["run_id"]
    first = project.make("release", f"RUN={run}").succeeded()
    assert f"{model} is released in local; none was before" in first.out
    assert "roc_auc" in first.out
    again = project.make("release", f"RUN={model}").succeeded()
    assert "already released" in again.out
    project.make("run").succeeded()
    assert project.states["train"] == "cached"
    assert project.states["evaluate"] == "ran"
    assert project.last_run["champion"].startswith(model)
    for name in ("nothing", "../x"):
        project.make("release", f"RUN={name}").failed(f"RUN={name!r}", "registered model")
    project.make("release", "ENV=prd").failed("prd", "local")


@LAPTOP
def test_another_release(project: Generated) -> None:
    """Both models are shown, and the one before can be released again."""
    before = release(project)
    (project.path / STORE / "champion.json").unlink()
    project.edit("config/project.yaml", "regularisation: 1.0", "regularisation: 2.0")
    project.make("run").succeeded()
    after = trained(project)
    assert after != before
    project.make("release", f"RUN={before}").succeeded()
    done = project.make("release", f"RUN={after}").succeeded()
    assert f"instead of {before}" in done.out
    assert f"before: {before}" in done.out
    back = project.make("release", f"RUN={before}").succeeded()
    assert f"instead of {after}" in back.out


@LAPTOP
def test_no_model_yet(project: Generated) -> None:
    """Every verb says how to make one."""
    project.edit("config/environments/local.yaml", STORE, "artifacts/none")
    for verb in ("release", "serve", "predict"):
        project.make(verb).failed("make run")
    project.edit("config/environments/local.yaml", "artifacts/none", STORE)
    for verb in ("serve", "predict"):
        project.make(verb).failed("make release")


@EVERY
def test_answers_are_the_pipelines_own(project: Generated) -> None:
    """Over both protocols, one row and many: labels equal, numbers to a millionth."""
    release(project)
    rows, expected = held_out(project)
    with serving(project.path) as server:
        for protocol in PROTOCOLS:
            said = ask(server, protocol, rows) + ask(server, protocol, rows[3:4])
            for found, known in zip(said, [*expected, expected[3]], strict=True):
                numbers = {k: v for k, v in known.items() if not isinstance(v, str)}
                assert {k: found[k] for k in known.keys() - numbers} == {
                    k: known[k] for k in known.keys() - numbers
                }
                assert {k: found[k] for k in numbers} == pytest.approx(numbers, rel=1e-6)


@EVERY
def test_made_up_requests(project: Generated) -> None:
    """None fails, each is answered with a sentence, and the server does not grow."""
    release(project)
    with serving(project.path) as server:
        for protocol in PROTOCOLS:
            result = fuzz(server, protocol, FUZZED)
            assert not result.faults, "\n".join(result.faults[:5])
            assert {200, 400, 404} <= result.statuses.keys()
            before, after = result.memory
            assert after - before < GROWTH
        assert ask(server, "v1", server.rows[:1])
        assert "Traceback" not in server.log.read_text("utf-8")


@LAPTOP
def test_many_clients(project: Generated) -> None:
    """Nobody is turned away."""
    release(project)
    with serving(project.path) as server:
        for protocol in PROTOCOLS:
            for clients in (1, 4, 32):
                assert load(server, protocol, clients, 128).failed == 0


@LAPTOP
def test_a_bad_request_is_named(project: Generated) -> None:
    """Column, rule and row are told; what is no request at all, too."""
    release(project)
    with serving(project.path) as server:
        rows = server.rows[:3]
        broken = [*rows[:2], {**rows[2], "mean radius": -3}]
        for protocol in PROTOCOLS:
            told = refused(server, json.dumps(request(protocol, broken)).encode(), protocol)
            (rule,) = told["violations"]
            assert rule["column"] == "mean radius"
            assert rule["rule"].startswith("in_range")
            assert rule["rows"] == [2]
            assert "mean radius" in told["error"]
        wrong_values: list[Any] = ["large", None, {}, [1], 1e308]
        for value in wrong_values:
            body = json.dumps({"instances": [{**rows[0], "mean radius": value}]}).encode()
            assert "mean radius" in refused(server, body)["error"]
        less = {name: value for name, value in rows[0].items() if name != "mean area"}
        assert "mean area" in refused(server, json.dumps({"instances": [less]}).encode())["error"]
        more = {**rows[0], "mean duck": 1}
        assert "mean duck" in refused(server, json.dumps({"instances": [more]}).encode())["error"]
        assert "JSON" in refused(server, b'{"instances": [NaN]}')["error"]
        content = request("v2", rows[:1])
        for key, value in (("shape", [2]), ("shape", [-1]), ("datatype", "FP128"), ("data", 1)):
            wrong = {**content["inputs"][0], key: value}
            body = json.dumps({"inputs": [wrong, *content["inputs"][1:]]}).encode()
            assert "mean radius" in refused(server, body, "v2")["error"]
        assert server.ask(server.path("v1"), b" " * (5 * 2**20))[0] == 413
        assert server.ask(server.path("v1").replace(server.name, "other"), b"{}")[0] == 404
        status, said = server.ask(f"/v1/models/{server.name}:explain", json.dumps(content).encode())
        assert status in (400, 404), said
        assert server.ask(f"/v2/repository/models/{server.name}/unload", b"")[0] == 404
        assert ask(server, "v1", rows)


@LAPTOP
def test_what_is_served_is_known(project: Generated) -> None:
    """Version and data are in the metadata and in the metrics, beside counts."""
    model = release(project)
    record = json.loads((project.path / STORE / model / "record.json").read_text("utf-8"))
    with serving(project.path) as server:
        ask(server, "v2", server.rows[:2])
        metadata = json.loads(server.ask(f"/v2/models/{server.name}")[1])
        assert metadata["versions"] == [model]
        assert metadata["parameters"]["sha256"] == record["sha256"]
        assert metadata["parameters"]["data_version"] == record["data"]["version"]
        metrics = server.ask("/metrics")[1].decode()
        for text in (record["sha256"], record["data"]["train_sha256"], "model_rows_total{protocol"):
            assert text in metrics
        for path in ("", "/v2/health/ready", "/v2/health/live", "/v1/models", "/v2/models"):
            assert server.ask(path or "/")[0] == 200


def _missing(folder: Path) -> None:
    (folder / "pipeline.skops").unlink()


def _truncated(folder: Path) -> None:
    content = (folder / "pipeline.skops").read_bytes()
    (folder / "pipeline.skops").write_bytes(content[:-100])


def _foreign(folder: Path) -> None:
    (folder / "pipeline.skops").write_bytes(b"PK\x03\x04 something else")


def _wrong_hash(folder: Path) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text("utf-8").replace('"versions"', '"Versions"'))


@LAPTOP
@pytest.mark.parametrize("harm", [_missing, _truncated, _foreign, _wrong_hash])
def test_a_harmed_model_is_neither_released_nor_served(project: Generated, harm: Any) -> None:
    """It is refused before anything listens."""
    model = trained(project)
    folder = project.path / STORE / model
    kept = project.path / STORE / "kept"
    shutil.copytree(folder, kept)
    try:
        harm(folder / "model")
        project.make("release", f"RUN={model}").failed("model")
        assert not (project.path / STORE / "champion.json").exists()
        shutil.rmtree(folder / "model")
        shutil.copytree(kept / "model", folder / "model")
        release(project)
        harm(folder / "model")
        done = project.make("serve", f"PORT={free_port()}").failed()
        assert "listens" not in done.out
    finally:
        shutil.rmtree(folder)
        kept.rename(folder)


@LAPTOP
def test_a_model_that_was_registered_without_a_sample(project: Generated) -> None:
    """It is tried, and asked, with a row that keeps the schema."""
    model = release(project)
    sample = project.path / STORE / model / "sample.json"
    content = sample.read_text("utf-8")
    sample.unlink()
    try:
        assert model in project.make("predict").succeeded().out
    finally:
        sample.write_text(content, encoding="utf-8")


@LAPTOP
def test_an_error_inside_the_model(project: Generated) -> None:
    """The client gets an id, the log what happened; other requests are answered."""
    hook(project, 'if len(rows) == 3:\n        raise ValueError("ducks do not fit")')
    release(project)
    with serving(project.path) as server:
        for protocol in PROTOCOLS:
            body = json.dumps(request(protocol, server.rows[:3])).encode()
            status, said = server.ask(server.path(protocol), body)
            assert status == 500
            assert b"ducks" not in said
            log = server.log.read_text("utf-8")
            assert json.loads(said)["id"] in log
            assert "ducks do not fit" in log
        assert ask(server, "v1", server.rows[:2])


@LAPTOP
def test_a_model_that_cannot_answer_its_sample(project: Generated) -> None:
    """It is not served."""
    hook(project, 'raise ValueError("ducks do not fit")')
    release(project)
    done = project.make("serve", f"PORT={free_port()}").failed("ducks do not fit", "sample")
    assert "listens" not in done.out


@LAPTOP
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_stopped_in_the_middle_of_a_request(project: Generated, stop: signal.Signals) -> None:
    """A request in flight is finished, and the exit code is 0; killed, it leaves nothing broken."""
    hook(project, "import time\n\n    time.sleep(1)")
    model = release(project)
    said: list[Any] = []
    with serving(project.path) as server:
        body = json.dumps(request("v1", server.rows[:3])).encode()

        def client() -> None:
            try:
                said.append(server.ask(server.path("v1"), body))
            except OSError:
                said.append(None)

        asking = threading.Thread(target=client)
        asking.start()
        time.sleep(0.4)
        assert server.ask("/v2/health/live")[0] == 200, "health is answered meanwhile"
        server.process.send_signal(stop)
        code = server.process.wait(30)
        asking.join()
        log = server.log.read_text("utf-8")
    if stop is signal.SIGKILL:
        assert said == [None]
        project.make("release", f"RUN={model}").succeeded()
        with serving(project.path) as server:
            assert ask(server, "v1", server.rows[:1])
    else:
        assert said[0][0] == 200
        assert code == 0, log
        assert "Traceback" not in log


@LAPTOP
def test_predict(project: Generated) -> None:
    """It asks a running server, or starts one; rows come from a file if there is one."""
    model = release(project)
    data = project.path / "rows.csv"
    project.shipped_data("rows.csv", "frame = frame.head(7)")
    said = json.loads(project.make("predict", "FILE=rows.csv", "JSON=1").succeeded().out)
    assert said["model_version"] == model
    assert len(said["predictions"]) == 7
    with serving(project.path) as server:
        url = f"URL=http://127.0.0.1:{server.port}"
        for protocol in PROTOCOLS:
            done = project.make("predict", url, "FILE=rows.csv", f"PROTOCOL={protocol}", "JSON=1")
            again = json.loads(done.succeeded().out)["predictions"]
            assert again == said["predictions"]
        shown = project.make("predict", url).succeeded().out
        assert "answer" in shown
        assert model in shown.splitlines()[-1]
        data.write_text(data.read_text("utf-8").replace("17.99,", "-3,", 1), encoding="utf-8")
        project.make("predict", url, "FILE=rows.csv").failed("mean radius", "row 0", "in_range")
        project.make("predict", url, "FILE=nowhere.csv").failed("nowhere.csv")
        project.make("predict", url, "FILE=README.md").failed("README.md", ".parquet")
        data.write_text("", encoding="utf-8")
        project.make("predict", url, "FILE=rows.csv").failed("rows.csv")
        project.make("serve", f"PORT={server.port}").failed(str(server.port), "PORT=")
    project.make("predict", url).failed("make serve")
    project.make("predict", "URL=nonsense").failed("nonsense", "http://")
    project.make("predict", "PROTOCOL=v3").failed("v3")


def hook(project: Generated, code: str) -> None:
    """Put code at the beginning of the team's own `predict`."""
    path = project.path / "serving/predictor.py"
    head, middle, tail = path.read_text("utf-8").partition("    The rows keep `INPUT`;")
    doc, end, body = tail.partition('"""\n')
    path.write_text(f"{head}{middle}{doc}{end}    {code}\n{body}", encoding="utf-8")


def free_port() -> int:
    """Find a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
