"""The payload log: a real server tells a real sink, and what it keeps is read back."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import engine
import pytest
import yaml
from apiserver import kubectl
from conftest import Template
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from projects import Generated, flavour, life, machine, restored
from pytest_copie.plugin import Copie
from test_access import valid
from test_overlays import release

from scripts.serving_proof import PROTOCOLS, request, serving

PROJECT = pytest.mark.parametrize("project", [flavour("xgboost-regression")], indirect=True)
CONFIG = "config/payloads.yaml"
ROWS = 100
FLUSH_ROWS = 10
REQUEST = "org.kubeflow.serving.inference.request"
HARDENED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--user=10001")


def test_it_is_a_component_of_an_overlay(template: Template, tmp_path: Path) -> None:
    """One line has it; every object is valid, and its pod may do nothing but write its volume."""
    parts = ["pipelines", "serving", "monitoring"]
    project = template.render(tmp_path / "project", kubeflow_components=parts)
    release(project, "dev")
    overlay = project / "serving/deploy/overlays/dev"
    page = (project / "docs/payloads.md").read_text("utf-8")
    blocks = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    (shown,) = (block for block in blocks if "components" in block)
    (bucket,) = (block for block in blocks if {*block} == {"patches"})
    file = overlay / "kustomization.yaml"
    content = yaml.safe_load(file.read_text("utf-8"))
    content["components"] += shown["components"]
    content["patches"] += shown["patches"] + bucket["patches"]
    content["images"] = [{**shown["images"][0], "newTag": "abc"}]
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    done = subprocess.run(
        [kubectl(), "kustomize", str(overlay)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    (served,) = (each for each in objects if each["kind"] == "InferenceService")
    assert served["spec"]["predictor"]["logger"] == {
        "mode": "all",
        "url": "http://my-model-payloads",
    }
    kinds = {"Deployment", "NetworkPolicy", "PersistentVolumeClaim", "Service"}
    ours = [each for each in objects if each["kind"] in kinds]
    assert {each["kind"] for each in ours} == kinds
    valid(ours)
    named = {(each["kind"], each["metadata"]["name"]): each["spec"] for each in ours}
    pod = named["Deployment", "my-model-payloads"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["image"] == "registry.example.com/my-model-payloads:abc"
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["readinessProbe"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    assert container["env"] == [{"name": "STORE", "value": "s3://my-bucket/payloads"}]
    service = named["Service", "my-model-payloads"]
    assert service["ports"][0]["port"] == 80
    taken = named["NetworkPolicy", "my-model-payloads"]
    sent = named["NetworkPolicy", "my-model-server-payloads"]
    assert sent["podSelector"] == named["NetworkPolicy", "my-model-server"]["podSelector"]
    (way,) = sent["egress"]
    for selector in (
        service["selector"],
        taken["podSelector"]["matchLabels"],
        way["to"][0]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= pod["metadata"]["labels"].items()


@pytest.fixture
def project(
    request: pytest.FixtureRequest, template: Template, copie_session: Copie
) -> Iterator[Generated]:
    """Give a project with a released model, whose payload log keeps two columns of everything."""
    with restored(life(request.param, template, copie_session).project) as made:
        made.make("run", "release").succeeded()
        made.edit(CONFIG, "sampling: 0.0", "sampling: 1")
        made.edit(CONFIG, "columns: []", f"columns: [age, bmi]\nflush_rows: {FLUSH_ROWS}")
        yield made


@contextmanager
def sink(project: Generated, store: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Run the payload log; give its process and URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [".venv/bin/python", "-m", "tools.payloads", "--store", str(store)]
    process = subprocess.Popen(
        [*command, "--port", str(port)], cwd=project.path, env=machine(), stdout=subprocess.DEVNULL
    )
    try:
        until(lambda: ask(port, "GET", "/health/ready")[0] == 200)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def ask(
    port: int | str, verb: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, bytes]:
    """Ask for something, once; 0 while nothing listens."""
    connection = HTTPConnection("127.0.0.1", int(port), timeout=10)
    try:
        connection.request(verb, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        response = connection.getresponse()
        return response.status, response.read()
    except ConnectionError:
        return 0, b""
    finally:
        connection.close()


def until(true: Any) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kept(project: Generated, store: Path) -> dict[str, Any]:
    """Read what was kept: the number of rows, their columns, and the models."""
    done = project.python(
        f"""
import json
from runtime.payloads import PayloadStore
kept = PayloadStore({str(store)!r}).read()
asked = kept.asked
print(json.dumps([asked.request_id.tolist(), list(kept.inputs), list(kept.outputs),
                  kept.inputs.to_dict("records"), kept.outputs["answer"].tolist() if len(asked)
                  else [], asked.model_id.unique().tolist()]))
"""
    ).succeeded()
    names = ("ids", "columns", "outputs", "inputs", "answers", "models")
    return dict(zip(names, json.loads(done.out), strict=True))


def metric(port: int | str, name: str) -> float:
    """Read one of the metrics."""
    lines = ask(port, "GET", "/metrics")[1].decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


@pytest.mark.project
@PROJECT
def test_what_is_asked_is_kept(project: Generated, tmp_path: Path) -> None:
    """A hundred rows by both protocols; what was killed lost less than `flush_rows`."""
    store = tmp_path / "log"
    with sink(project, store) as (process, url):
        sink_port = url.rpartition(":")[2]
        with serving(project.path, "--payloads", url) as server:
            rows = (server.rows * ROWS)[:ROWS]
            expected = []
            for number, row in enumerate(rows):
                protocol = PROTOCOLS[number % 2]
                body = json.dumps(request(protocol, [row])).encode()
                status, said = server.ask(server.path(protocol), body, **{"ce-id": str(number)})
                assert status == 200, said
                answer = json.loads(said)
                expected.append(
                    answer["predictions"][0]["answer"]
                    if protocol == "v1"
                    else answer["outputs"][0]["data"][0]
                )
            until(lambda: metric(sink_port, 'payload_events_total{outcome="taken"}') == 2 * ROWS)
            process.terminate()
            assert process.wait(30) == 0
            found = kept(project, store)
            assert sorted(map(int, found["ids"])) == list(range(ROWS))
            assert found["columns"] == ["age", "bmi"]
            assert found["outputs"] == ["answer"]
            assert len(found["models"]) == 1
            by_id = {
                request_id: (inputs, answer)
                for request_id, inputs, answer in zip(
                    found["ids"], found["inputs"], found["answers"], strict=True
                )
            }
            for number, row in enumerate(rows):
                inputs, answer = by_id[str(number)]
                assert inputs == {name: pytest.approx(row[name]) for name in ("age", "bmi")}
                assert answer == pytest.approx(expected[number])
            # Nobody listens any more, and nobody who asks the model notices.
            assert server.ask(server.path(protocol), body)[0] == 200
            until(lambda: metric(server.port, 'model_payload_events_total{outcome="failed"}') >= 2)
    rest = project.make("payloads", f"STORE={store}", "FORGET=3, 5").succeeded()
    assert "2 rows are gone" in rest.out
    assert not {"3", "5"} & set(kept(project, store)["ids"])


@pytest.mark.project
@PROJECT
def test_killed(project: Generated, tmp_path: Path) -> None:
    """What is lost is what waited: fewer rows than are written at once."""
    store = tmp_path / "log"
    with sink(project, store) as (process, url):
        port = url.rpartition(":")[2]
        for number in range(3 * FLUSH_ROWS + 3):
            for kind, body in (
                ("request", b'{"instances": [{"age": 1}]}'),
                ("response", b'{"predictions": [{"answer": 2}]}'),
            ):
                assert event(port, body, ce_id=str(number), ce_type=REQUEST[:-7] + kind)[0] == 200
        # How many are in a file depends on how many came while another one was written.
        until(lambda: metric(port, "payload_rows_total") > 2 * FLUSH_ROWS + 3)
        process.kill()
        process.wait()
    assert len(set(kept(project, store)["ids"])) > 3 * FLUSH_ROWS + 3 - FLUSH_ROWS


@pytest.mark.project
@PROJECT
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_stopped_before_it_listens(project: Generated, tmp_path: Path, name: str) -> None:
    """A signal that comes while it starts ends it as well."""
    done = project.python(
        f"""
import os, signal, uvicorn
from runtime import sink
from runtime.payloads import PayloadSettings, PayloadStore

run = uvicorn.Server.run

def stopped(server):
    os.kill(os.getpid(), signal.{name})
    signal.alarm(30)
    run(server)

uvicorn.Server.run = stopped
store = PayloadStore({str(tmp_path)!r})
sink.serve(PayloadSettings(), store, host="127.0.0.1", port=0)
print("ended")
"""
    ).succeeded()
    assert done.out.strip() == "ended", done.said


def event(port: int | str, body: bytes, **attributes: str) -> tuple[int, bytes]:
    """Send an event with some attributes of its own; an empty one is left out."""
    usual = {"ce_id": "a", "ce_type": REQUEST, "ce_source": "/", "ce_specversion": "1.0"}
    sent = {name: value for name, value in {**usual, **attributes}.items() if value}
    return ask(port, "POST", "/", body, **sent)


@pytest.mark.project
@PROJECT
def test_made_up_events(project: Generated, tmp_path: Path) -> None:
    """Each is taken or refused with a reason; the log goes on."""
    words = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
    kinds = st.sampled_from([REQUEST, REQUEST.replace("request", "response"), "ducks", ""])
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
        max_leaves=8,
    )
    names = st.sampled_from(["instances", "inputs", "predictions", "outputs", "model_name"])
    bodies = st.binary(max_size=50) | st.dictionaries(names, values).map(
        lambda content: json.dumps(content).encode()
    )
    with sink(project, tmp_path / "log") as (_, url):
        port = url.rpartition(":")[2]

        @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
        @given(body=bodies, ce_type=kinds, ce_id=words, ce_specversion=words | st.just("1.0"))
        def send(body: bytes, **attributes: str) -> None:
            status, said = event(port, body, **attributes)
            assert status in (200, 400), said
            assert status == 200 or json.loads(said)["error"]

        send()
        assert ask(port, "GET", "/health/ready")[0] == 200
        assert event(port, b" " * (8 * 2**20 + 1))[0] in (0, 413)


@pytest.mark.project
@PROJECT
def test_what_cannot_be_kept(project: Generated, tmp_path: Path) -> None:
    """Settings, columns, places and addresses that are wrong are named."""
    project.edit(CONFIG, "age", "cage")
    project.make("payloads").failed(CONFIG, "'cage'", "age")
    project.edit(CONFIG, "sampling: 1", "sampling: 2")
    project.make("payloads").failed(CONFIG, "sampling", "less than or equal to 1")
    project.make("check").failed(CONFIG, "sampling")
    project.edit(CONFIG, "sampling: 2", "sampling: 1")
    project.edit(CONFIG, "cage", "age")
    (tmp_path / "file").write_text("")
    project.make("payloads", f"STORE={tmp_path}/file").failed("cannot be written")
    project.make("payloads", "STORE=ducks://pond").failed("ducks", "driver")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        project.make("payloads", f"PORT={port}").failed(str(port), "PORT=")
    project.make("serve", "PORT=8123", "PAYLOADS=ducks").failed("ducks", "http://")


@pytest.mark.project
@pytest.mark.engine
@PROJECT
def test_its_image(project: Generated, tmp_path: Path) -> None:
    """As on a cluster: no root, nothing to write on but its volume; what it has, it writes."""
    engine.require()
    project.edit("config/project.yaml", "epoch: 0", f"epoch: {time.time_ns()}")
    done = project.make("images", "IMAGE=payloads", "JSON=1").succeeded()
    (image,) = json.loads(done.out)
    assert image["state"] == "built"
    volume = tmp_path / "volume"
    volume.mkdir(mode=0o777)
    volume.chmod(0o777)
    code = (
        "import signal, threading, time, urllib.request, subprocess, sys\n"
        "run = subprocess.Popen([sys.executable, '-m', 'runtime.sink'])\n"
        "def send(kind, body):\n"
        "    request = urllib.request.Request('http://127.0.0.1:8080/', body, {'ce-id': 'a',"
        " 'ce-source': '/', 'ce-specversion': '1.0',"
        " 'ce-type': 'org.kubeflow.serving.inference.' + kind})\n"
        "    for _ in range(200):\n"
        "        try:\n"
        "            return urllib.request.urlopen(request)\n"
        "        except OSError:\n"
        "            time.sleep(0.1)\n"
        'send(\'request\', b\'{"instances": [{"age": 1, "sex": 2}]}\')\n'
        "send('response', b'{\"predictions\": [{\"answer\": 3}]}')\n"
        "run.send_signal(signal.SIGTERM)\n"
        "sys.exit(run.wait())\n"
    )
    mounted = f"--mount=type=bind,source={volume},target=/payloads"
    try:
        engine.docker("run", "--rm", *HARDENED, mounted, image["image"], "python", "-c", code)
        found = kept(project, volume)
        assert found["ids"] == ["a"]
        assert found["columns"] == ["age"]
        said = engine.docker(
            "run",
            "--rm",
            *HARDENED,
            mounted,
            image["image"],
            *["python", "-m", "runtime.sink", "forget", "a"],
        )
        assert "1 rows are gone" in said
    finally:
        engine.docker("image", "rm", "--force", image["image"])
