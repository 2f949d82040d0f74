"""The model server beside a bare one of KServe, which answers a constant, on the same machine.

What is compared is the project's server without the model's own predict, in whose place a constant
is answered: all that serving costs, checks included. The servers take turns.
"""

import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts import serving_proof
from scripts.repository import surroundings
from scripts.serving_proof import PROTOCOLS, Loaded, Running

LIMIT = 1.3
ROUNDS = 3
REQUESTS = 400

BARE = """
import logging, sys
from kserve import InferOutput, InferResponse, Model, ModelServer

OUTPUT = [InferOutput("answer", [1], "FP64", data=[0.5])]

class Bare(Model):
    def __init__(self):
        super().__init__("bare")
        self.ready = True

    def predict(self, payload, headers=None):
        if isinstance(payload, dict):
            return {"predictions": [{"answer": 0.5}]}
        return InferResponse("a", "bare", OUTPUT)

logging.basicConfig()
for name in ("kserve", "uvicorn.error", "uvicorn.access"):
    logging.getLogger(name).setLevel(logging.WARNING)
ModelServer(
    http_port=int(sys.argv[1]), enable_grpc=False, enable_latency_logging=False
).start([Bare()])
"""
CONSTANT = """
import sys
import numpy
from serving import predictor
from tools import serve

CONSTANT = numpy.array([0.5])
predictor.predict = lambda model, rows: {"answer": numpy.repeat(CONSTANT, len(rows))}
serve.serve("local", "", int(sys.argv[1]))
"""


@dataclass(frozen=True)
class Row:
    """A figure beside its floor: milliseconds, seconds or requests per second, as its name says."""

    name: str
    value: float
    floor: float
    ratio: float
    limit: float | None = None
    """Of the ratio."""
    rate: bool = False
    """Whether more is better."""


def bench(project: Path) -> list[Row]:
    """Measure a project whose model is released."""
    rows = []
    with (
        serving_proof.serving(project) as server,
        beside(project, server, "bare", BARE) as bare,
        beside(project, server, server.name, CONSTANT) as empty,
    ):
        for protocol in PROTOCOLS:
            rows += compared(protocol, server, bare, empty)
    return [*rows, start(project)]


def compared(protocol: str, server: Running, bare: Running, empty: Running) -> list[Row]:
    """Load the servers in turns, by one client, and compare medians."""
    asked = body(protocol, server)
    taken: list[list[Loaded]] = []
    for turn in range(ROUNDS + 1):
        loaded = [
            serving_proof.load(running, protocol, 1, REQUESTS, asked)
            for running in (bare, empty, server)
        ]
        if turn:
            taken.append(loaded)
    rows = []
    for share, limit in ((0.5, LIMIT), (0.99, None)):
        least, value, whole = (
            statistics.median(turn[side].percentile(share) for turn in taken) for side in range(3)
        )
        name = f"{protocol} p{share * 100:.0f}"
        rows.append(Row(f"{name}, ms", value, least, value / least, limit))
        rows.append(Row(f"{name} with the model, ms", whole, least, whole / least))
    most, rate, whole = (statistics.median(turn[side].rate for turn in taken) for side in range(3))
    rows.append(Row(f"{protocol} requests/s", rate, most, most / rate, rate=True))
    return [
        *rows,
        Row(f"{protocol} requests/s with the model", whole, most, most / whole, rate=True),
    ]


def body(protocol: str, server: Running) -> bytes:
    """Make the request that both servers get."""
    return json.dumps(serving_proof.request(protocol, server.rows[:1])).encode()


def start(project: Path) -> Row:
    """Measure the time until the model is ready, beside importing KServe."""
    ready, imported = [], []
    for turn in range(ROUNDS + 1):
        began = time.perf_counter()
        with serving_proof.serving(project):
            first = time.perf_counter() - began
        began = time.perf_counter()
        python(project, "import kserve")
        if turn:
            ready.append(first)
            imported.append(time.perf_counter() - began)
    value, floor = statistics.median(ready), statistics.median(imported)
    return Row("start, s", value, floor, value / floor)


@contextmanager
def beside(project: Path, server: Running, name: str, code: str) -> Iterator[Running]:
    """Run another server with the same packages."""
    with socket.socket() as probe:
        probe.bind((serving_proof.HOST, 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [project / ".venv/bin/python", "-W", "ignore", "-c", code, str(port)],
        cwd=project,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    running = Running(process, port, name, server.rows, server.log)
    try:
        serving_proof.until_ready(running)
        yield running
    finally:
        process.terminate()
        process.wait()


def python(project: Path, code: str) -> str:
    """Run Python in a project's environment, with bytecode as for a user."""
    environment = {k: v for k, v in surroundings().items() if k != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        [project / ".venv/bin/python", "-c", code],
        cwd=project,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


if __name__ == "__main__":
    print(json.dumps([asdict(row) for row in bench(Path(sys.argv[1]))], indent=2))
