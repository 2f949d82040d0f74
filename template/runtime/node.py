"""A node: one of several processes, here or in pods, that train a model together.

`python -m runtime.node` is what each of them runs, `runtime.distributed` is what starts them. They
find each other by the variables that Kubeflow Trainer sets for XGBoost.
"""

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime import datasets, models
from runtime.errors import ProjectError

LOOPBACK = "127.0.0.1"
ANY = "0.0.0.0"  # noqa: S104
# Seconds that a node waits for the others: a cluster may have to get machines and images first.
PATIENCE = 3600
# What XGBoost says while node 0 is not there yet.
NOT_THERE = "Failed to connect to the tracker"
# The exit code of a node that has lost another: the reason is in the log of that one.
PEER_LOST = 75
LINES_KEPT = 100
LINES_SHOWN = 5
# Until the process ends: deleted any earlier, a tracker complains of nodes that are gone.
_kept: list[object] = []


@dataclass(frozen=True)
class Node:
    """One of those that train together."""

    rank: int
    """From 0 on; node 0 is where the others meet, and writes the model."""
    count: int
    host: str = LOOPBACK
    """The name or address of node 0."""
    port: int = 0

    @property
    def share(self) -> slice:
        """The rows of this node: every `count`-th, so that all shares are alike."""
        return slice(self.rank, None, self.count)

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """Where all that XGBoost does is done by all nodes together.

        Raises:
            PeerLostError: another node does not come, or is gone.
        """
        from xgboost import collective
        from xgboost.core import XGBoostError
        from xgboost.tracker import RabitTracker

        if self.count == 1:
            yield
            return
        tracker = None
        if self.rank == 0:
            address = LOOPBACK if self.host == LOOPBACK else ANY
            # By task: a node has the same rank every time, whoever comes first.
            tracker = RabitTracker(self.count, address, self.port, sortby="task")
            _kept.append(tracker)
            tracker.start()
        self._join()
        try:
            yield
            # Not after an error: it would look for nodes that are gone.
            collective.finalize()
        except XGBoostError as error:
            if "/collective/" in str(error):
                raise PeerLostError(f"node {self.rank} has lost another one") from error
            raise
        if tracker:
            tracker.wait_for()

    def _join(self) -> None:
        from xgboost import collective
        from xgboost.core import XGBoostError

        end = time.monotonic() + PATIENCE
        while True:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    collective.init(
                        # Asked anew each time: at first a cluster may not know the name.
                        dmlc_tracker_uri=socket.gethostbyname(self.host),
                        dmlc_tracker_port=self.port,
                        dmlc_task_id=str(self.rank),
                        dmlc_timeout=PATIENCE,
                        # Its own second try waits for seconds, and fails where the first did.
                        dmlc_retry=1,
                    )
                return
            except (OSError, XGBoostError) as error:
                early = isinstance(error, OSError) or NOT_THERE in str(error)
                if not early or time.monotonic() > end:
                    raise PeerLostError(f"node {self.rank} finds no node 0") from error
                time.sleep(0.2)


class PeerLostError(Exception):
    """A node cannot go on, for a reason that another one knows."""


def run(function: str, nodes: str, data: str, model: str, options: str) -> None:
    """Call a function, as `module:name`, on the examples; on node 0, write the model it returns."""
    this = Node(
        rank=int(os.environ["DMLC_TASK_ID"]),
        count=int(nodes),
        host=os.environ["DMLC_TRACKER_URI"],
        port=int(os.environ["DMLC_TRACKER_PORT"]),
    )
    module, _, name = function.partition(":")
    train = getattr(importlib.import_module(module), name)
    examples = datasets.read(data)
    rows = len(examples[this.share])
    print(f"node {this.rank} of {this.count}: {rows} of {len(examples)} rows", flush=True)
    fitted = train(examples, this, **json.loads(options))
    if this.rank == 0:
        with tempfile.TemporaryDirectory() as folder:
            models.save(fitted, Path(folder))
            models.transfer(folder, model)


def failure(rank: int, nodes: int, cause: str, log: Iterable[str]) -> str:
    """The sentence for a node that did not finish, with the last lines of its log."""
    said = [line.rstrip() for line in log if line.strip()][-LINES_SHOWN:]
    tail = "".join(f"\n  {line}" for line in said)
    return f"node {rank} of {nodes} {cause}; " + (f"its log ends with{tail}" if said else "no log")


def how_it_ended(code: int) -> str:
    """What an exit code says, of a process (negative after a signal) or of a container."""
    try:
        return f"was ended by {signal.Signals(-code if code < 0 else code - 128).name}"
    except ValueError:
        return f"failed (exit code {code})"


def main(arguments: Sequence[str]) -> int:
    """Run as a node and return the exit code; the last lines of the log say what went wrong."""
    try:
        run(*arguments)
    except PeerLostError as error:
        print(error)
        return PEER_LOST
    except ProjectError as error:
        print(error)
        return 1
    except Exception:
        traceback.print_exc(file=sys.stdout)
        return 1
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # At an ordinary end XGBoost would look for nodes that are gone.
    os._exit(code)
