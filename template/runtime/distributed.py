"""Training on several nodes: processes of this machine, or a TrainJob on a cluster."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

from runtime import models, trainjob
from runtime.errors import ProjectError
from runtime.node import LINES_KEPT, LOOPBACK, PEER_LOST, failure, how_it_ended

# Seconds in which the lost node is found, once another one has said that it lost it.
GRACE = 5


def launch(
    train: Callable[..., Any],
    *,
    nodes: int,
    data: str,
    options: Mapping[str, Any],
    model: str,
    folder: Path,
) -> str:
    """Have several nodes train a model; return its SHA-256 (64 hex digits).

    On each node `train` is called with the examples, its `Node` and the options. What it returns
    on node 0 is written to `model`, and is in `folder` afterwards. In a pod of a pipeline `data`
    and `model` are URIs, and the nodes are pods; where they are paths, processes of this machine.

    Raises:
        ProjectError: a node failed, or could not be started.
    """
    cluster = None
    if "KUBERNETES_SERVICE_HOST" in os.environ and "://" in data:
        cluster = trainjob.Cluster()
        data, model = cluster.reachable(data), cluster.reachable(model)
    function = f"{train.__module__}:{train.__name__}"
    command = ["-m", "runtime.node", function, str(nodes), data, model, json.dumps(options)]
    with _ended_in_order():
        if cluster:
            package = train.__module__.partition(".")[0].replace("_", "-")
            trainjob.run(cluster, ["python", *command], nodes, f"{package}-train")
            models.transfer(model, str(folder))
        else:
            _on_this_machine([sys.executable, *command], nodes)
    sha256 = models.digest(folder)
    models.verify(folder, sha256=sha256)
    return sha256


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """Make an exception of a request to end, so that what was started ends too."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Process:
    """A node on this machine; the log of node 0 is this process's log too."""

    def __init__(self, command: list[str], rank: int, where: Mapping[str, str]) -> None:
        self.rank = rank
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._process = subprocess.Popen(  # noqa: S603
            command,
            env={**os.environ, **where, "DMLC_TASK_ID": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def code(self) -> int | None:
        """Its exit code, negative when a signal ended it; None while it runs."""
        return self._process.poll()

    def end(self) -> None:
        """End it, if it has not, and read the rest of what it said."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.lines.append(line)
            if self.rank == 0:
                print(line, end="", flush=True)


def _on_this_machine(command: list[str], nodes: int) -> None:
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port = free.getsockname()[1]
    where = {"DMLC_TRACKER_URI": LOOPBACK, "DMLC_TRACKER_PORT": str(port)}
    started: list[_Process] = []
    try:
        for rank in range(nodes):
            started.append(_Process(command, rank, where))
        failed = _first_to_fail(started)
    finally:
        for each in started:
            each.end()
    if failed:
        cause = how_it_ended(failed.code or 0)
        raise ProjectError(failure(failed.rank, nodes, cause, failed.lines))


def _first_to_fail(started: list[_Process]) -> _Process | None:
    """Wait until one has failed; None when all have succeeded."""
    end = None
    while True:
        failed = [each for each in started if each.code]
        culprits = [each for each in failed if each.code != PEER_LOST]
        end = end or (time.monotonic() + GRACE if failed else None)
        if culprits or (end and time.monotonic() > end):
            return (culprits or failed)[0]
        if all(each.code == 0 for each in started):
            return None
        time.sleep(0.05)
