"""`python -m scripts.serving_proof`: send the model server what no client should, and many at once.

A project of each flavour is generated, trained and served. It gets requests that hypothesis makes
by breaking good ones, then good ones from several clients at a time; what came of it is written
into docs/reference/serving-proof.md.
"""

import json
import platform
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Annotated, Any

import typer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from scripts import render, screen
from scripts.repository import ROOT, surroundings

HOST = "127.0.0.1"
PAGE = "docs/reference/serving-proof.md"
PROTOCOLS = ("v1", "v2")
CLIENTS = (1, 4, 32)
PATIENCE = 60
WARM = 500
"""Requests before memory is first looked at: caches fill, and then should not grow."""
PACKAGES = ("kserve", "fastapi", "starlette", "uvicorn", "pandas", "pandera", "scikit-learn")

Row = dict[str, Any]


@dataclass
class Running:
    """A model server, its process and what it serves."""

    process: "subprocess.Popen[str]"
    port: int
    name: str
    rows: list[Row]
    """Rows that it answers."""
    log: Path

    def path(self, protocol: str) -> str:
        """Return the path that predictions are asked at."""
        verb = ":predict" if protocol == "v1" else "/infer"
        return f"/{protocol}/models/{self.name}{verb}"

    def connect(self) -> HTTPConnection:
        """Open a connection of one's own."""
        return HTTPConnection(HOST, self.port, timeout=PATIENCE)

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Send one request by a connection of its own."""
        connection = self.connect()
        try:
            connection.request("POST" if body is not None else "GET", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    @property
    def memory(self) -> float:
        """Return the memory it holds, in MiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        line = next(line for line in text.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024


def request(protocol: str, rows: list[Row]) -> Row:
    """Ask a protocol's way for the answers to some rows."""
    if protocol == "v1":
        return {"instances": rows}
    tensors = [
        {
            "name": name,
            "shape": [len(rows)],
            "datatype": "BYTES" if isinstance(rows[0][name], str) else "FP64",
            "data": [row[name] for row in rows],
        }
        for name in rows[0]
    ]
    return {"id": "a", "inputs": tensors}


@contextmanager
def serving(project: Path, *arguments: str) -> Iterator[Running]:
    """Serve a project's released model on a free port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    environment = {**surroundings(), "PYTHONUNBUFFERED": "1"}
    sample = max(project.glob("artifacts/models/*/sample.json"), key=lambda p: p.stat().st_mtime)
    rows = json.loads(sample.read_text("utf-8"))["instances"]
    command = [".venv/bin/python", "-m", "tools.serve", "--port", str(port), *arguments]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w") as out:
            process = subprocess.Popen(
                command, cwd=project, env=environment, stdout=out, stderr=out, text=True
            )
        running = Running(process, port, project_name(project), rows, log)
        try:
            until_ready(running)
            yield running
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until_ready(running: Running) -> None:
    """Wait until the model is ready.

    Raises:
        RuntimeError: the server ended, or takes too long.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if running.process.poll() is not None:
            raise RuntimeError(running.log.read_text("utf-8"))
        with suppress(OSError, HTTPException):
            if running.ask(f"/v2/models/{running.name}/ready")[0] == 200:
                return
        time.sleep(0.02)
    raise RuntimeError(f"not ready after {PATIENCE} s: {running.log.read_text('utf-8')}")


def project_name(project: Path) -> str:
    """Read the name under which a project's model is served."""
    lines = (project / "pyproject.toml").read_text("utf-8").splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("name = "))


# What is put in the place of a part of a good request.
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**63, 2**64, 10**30, 10**400, -(2**63) - 1]),
    st.floats(),
    st.sampled_from(["", "nan", "inf", "-1", "1e999", "12.5", "\x00", "\ud800", "é" * 500]),
    st.text(max_size=20),
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)
HEADERS = st.one_of(
    st.just({"content-type": "application/json"}),
    st.fixed_dictionaries(
        {},
        optional={
            "content-type": st.sampled_from(
                ["", "text/plain", "application/octet-stream", "application/cloudevents+json", "x"]
            ),
            "ce-id": st.just("1"),
            "ce-source": st.just("x"),
            "ce-specversion": st.sampled_from(["1.0", "9"]),
            "ce-type": st.just("t"),
            "inference-header-content-length": st.sampled_from(["0", "-1", "x", "9" * 30]),
            "content-encoding": st.sampled_from(["gzip", "zstd"]),
            "x-request-id": st.just("a"),
        },
    ),
)
HOW = ("good", "broken", "broken", "broken", "cut", "junk", "bytes")


def broken(draw: st.DrawFn, content: Any) -> Any:
    """Replace, remove, add or repeat something at a random place."""
    if isinstance(content, dict) and content and draw(st.integers(0, 4)):
        name = draw(st.sampled_from(sorted(content)))
        match draw(st.sampled_from(("deeper", "deeper", "deeper", "remove", "add"))):
            case "remove":
                return {key: value for key, value in content.items() if key != name}
            case "add":
                return {**content, draw(st.text(max_size=10)): draw(JUNK)}
            case _:
                return {**content, name: broken(draw, content[name])}
    if isinstance(content, list) and content and draw(st.integers(0, 4)):
        place = draw(st.integers(0, len(content) - 1))
        match draw(st.sampled_from(("deeper", "deeper", "deeper", "remove", "repeat"))):
            case "remove":
                return content[:place] + content[place + 1 :]
            case "repeat":
                return content + content[place:]
            case _:
                inner = broken(draw, content[place])
                return [*content[:place], inner, *content[place + 1 :]]
    return draw(JUNK)


@st.composite
def bodies(draw: st.DrawFn, protocol: str, rows: list[Row]) -> bytes:
    """Make a body: a good one, one that is broken in a place or two, or nothing like it."""
    how = draw(st.sampled_from(HOW))
    if how == "bytes":
        return draw(st.binary(max_size=200))
    if how == "junk":
        return json.dumps(draw(JUNK)).encode()
    number = draw(st.integers(1, 3))
    content: Any = request(protocol, rows[:number])
    if how == "broken":
        for _ in range(draw(st.integers(1, 2))):
            content = broken(draw, content)
    text = json.dumps(content, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    return text[: draw(st.integers(0, len(text)))] if how == "cut" else text


@dataclass
class Fuzzed:
    """What came of the requests that were made up."""

    protocol: str
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """Answers that should not be: a failure, or one that says what is inside."""
    memory: tuple[float, float] = (0.0, 0.0)
    seconds: float = 0.0


def fuzz(running: Running, protocol: str, number: int) -> Fuzzed:
    """Send made-up requests, the same ones every time."""
    result = Fuzzed(protocol)
    connection = running.connect()
    verb = running.path(protocol)
    paths = [verb] * 12 + [f"/v1/models/{running.name}:explain", verb.replace(running.name, "x")]
    started = time.perf_counter()

    @settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(bodies(protocol, running.rows), HEADERS, st.sampled_from(paths))
    def send(body: bytes, headers: dict[str, str], path: str) -> None:
        nonlocal connection
        if sum(result.statuses.values()) == min(WARM, number // 2):
            result.memory = (running.memory, 0.0)
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            status, said = response.status, response.read()
        except (OSError, HTTPException) as error:
            status, said = 0, repr(error).encode()
            connection.close()
            connection = running.connect()
        result.statuses[status] += 1
        inside = b"Traceback" in said or b"site-packages" in said
        wordless = status >= 400 and b'"error"' not in said
        if status >= 500 or status == 0 or inside or wordless:
            result.faults.append(f"{status} {path} {headers} {body[:300]!r}: {said[:300]!r}")

    send()
    connection.close()
    result.seconds = time.perf_counter() - started
    result.memory = (result.memory[0], running.memory)
    return result


@dataclass
class Loaded:
    """What came of good requests by several clients at a time."""

    protocol: str
    clients: int
    latencies: list[float]
    """Seconds, sorted."""
    failed: int
    seconds: float

    def percentile(self, share: float) -> float:
        """Return a percentile of the latency, in milliseconds."""
        return self.latencies[min(int(len(self.latencies) * share), len(self.latencies) - 1)] * 1e3

    @property
    def rate(self) -> float:
        """Return requests per second."""
        return len(self.latencies) / self.seconds


def load(
    running: Running, protocol: str, clients: int, number: int, body: bytes | None = None
) -> Loaded:
    """Send a good request of one row, again and again, by so many clients."""
    asked = body or json.dumps(request(protocol, running.rows[:1])).encode()
    headers = {"content-type": "application/json"}
    latencies: list[float] = []
    failed: list[int] = []

    def client(share: int) -> None:
        connection = running.connect()
        for _ in range(share):
            began = time.perf_counter()
            connection.request("POST", running.path(protocol), asked, headers)
            response = connection.getresponse()
            response.read()
            latencies.append(time.perf_counter() - began)
            if response.status != 200:
                failed.append(response.status)
        connection.close()

    threads = [threading.Thread(target=client, args=(number // clients,)) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    return Loaded(protocol, clients, sorted(latencies), len(failed), seconds)


def trained(flavour: str, folder: Path) -> Path:
    """Generate a project, train its model and release it."""
    project = folder / flavour
    render.generate(flavour, project)
    subprocess.run(
        ["make", "setup", "run", "release"],
        cwd=project,
        env=surroundings(),
        check=True,
        capture_output=True,
    )
    return project


def versions(project: Path) -> str:
    """List the versions of what the server is made of."""
    code = f"from importlib.metadata import version as v\nfor p in {PACKAGES}: print(p, v(p))"
    done = subprocess.run(
        [".venv/bin/python", "-c", code], cwd=project, check=True, capture_output=True, text=True
    )
    return ", ".join(done.stdout.splitlines())


def section(flavour: str, fuzzed: list[Fuzzed], loaded: list[Loaded]) -> list[str]:
    """Write the tables of a flavour."""
    codes = sorted({status for result in fuzzed for status in result.statuses})
    lines = ["", f"## {flavour}", ""]
    lines.append(f"| made up | requests | {' | '.join(map(str, codes))} | faults | memory, MiB |")
    lines.append("|---" * (len(codes) + 4) + "|")
    for result in fuzzed:
        counts = " | ".join(str(result.statuses[code]) for code in codes)
        before, after = result.memory
        total = sum(result.statuses.values())
        lines.append(
            f"| {result.protocol} | {total:,} | {counts} | {len(result.faults)} "
            f"| {before:.0f} → {after:.0f} |"
        )
    lines += ["", "| good | clients | requests | failed | p50, ms | p99, ms | requests/s |"]
    lines.append("|---" * 7 + "|")
    for many in loaded:
        lines.append(
            f"| {many.protocol} | {many.clients} | {len(many.latencies):,} "
            f"| {many.failed} | {many.percentile(0.5):.1f} | {many.percentile(0.99):.1f} "
            f"| {many.rate:.0f} |"
        )
    return lines


def proof(
    number: Annotated[int, typer.Option(help="Made-up requests, per protocol.")] = 10_000,
    requests: Annotated[int, typer.Option(help="Good ones, per row of the table.")] = 2_000,
) -> None:
    """Fuzz and load the server of each flavour, and write the page."""
    lines = [
        "# The model server under fire",
        "",
        "Written by `python -m scripts.serving_proof`. Made-up requests are good ones that "
        "hypothesis breaks, random JSON and random bytes; a fault is a status of 500 or above, no "
        "answer, or an answer without a sentence. Memory is that of the server after its first "
        f"{WARM} requests, and after the last. Good requests hold one row.",
        "",
    ]
    for place, flavour in enumerate(render.online()):
        with tempfile.TemporaryDirectory() as folder:
            project = trained(flavour, Path(folder))
            if place == 0:
                lines.append(f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}")
                lines[-1] += f", {versions(project)}."
            with serving(project) as running:
                fuzzed = [fuzz(running, protocol, number) for protocol in PROTOCOLS]
                loaded = [
                    load(running, protocol, clients, requests)
                    for protocol in PROTOCOLS
                    for clients in CLIENTS
                ]
        lines += section(flavour, fuzzed, loaded)
        for fault in [fault for result in fuzzed for fault in result.faults][:10]:
            screen.say(fault)
    (ROOT / PAGE).write_text("\n".join([*lines, ""]), "utf-8")
    screen.what_next(f"git diff {PAGE}")


if __name__ == "__main__":
    screen.start(proof)
