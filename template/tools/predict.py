"""`make predict`: ask the model server, and show what it answers."""

import contextlib
import json
import math
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.table import Table

from runtime.errors import ProjectError
from runtime.store import ModelStore
from tools import registry, screen
from tools.project import ROOT, project

HOST = "127.0.0.1"
ID = "ce-id"
"""As in runtime/events.py, which takes longer to import."""
URL = f"http://{HOST}:8080"
PATIENCE = 60
"""Seconds that a server gets to start, or to answer."""
SAMPLE_ROWS = 5
ROWS_AT_ONCE = 500
ROWS_SHOWN = 20
COLUMNS_SHOWN = 3

Row = dict[str, Any]


class Protocol(StrEnum):
    """How the server is asked."""

    v1 = "v1"
    v2 = "v2"


def predict(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    run: Annotated[str, typer.Option(help="A model's id or a run's; empty: the released.")] = "",
    url: Annotated[str, typer.Option(help="A running server.")] = "",
    file: Annotated[str, typer.Option(help="Rows: CSV, Parquet or JSON; empty: a sample.")] = "",
    protocol: Annotated[Protocol, typer.Option(help="KServe's protocol.")] = Protocol.v1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Ask a running server, or one that is started for the occasion."""
    given = read(file) if file else []
    with asked(env, run, url) as server:
        known = [tensor["name"] for tensor in server.metadata["inputs"]]
        rows, left_out = fitting(given or server.sample(registry.store(env)), known)
        answers: list[Row] = []
        for start in range(0, len(rows), ROWS_AT_ONCE):
            answers += server.ask(rows[start : start + ROWS_AT_ONCE], protocol, start)
        name, version = server.metadata["name"], server.metadata["versions"][0]
    if as_json:
        said = {"model_name": name, "model_version": version, "predictions": answers}
        print(json.dumps(said, indent=2))
        return
    screen.console.print(table(rows, answers))
    if len(rows) > ROWS_SHOWN:
        screen.console.print(f"and {len(rows) - ROWS_SHOWN} more rows; JSON=1 prints all of them")
    if left_out:
        screen.console.print(f"not asked with: {screen.escape(', '.join(left_out))}")
    screen.what_next(f"Answered by model {version}. Your own rows: `make predict FILE=rows.csv`.")


@dataclass(frozen=True)
class Server:
    """A model server that answers."""

    url: str
    metadata: dict[str, Any]

    def sample(self, store: ModelStore) -> list[Row]:
        """The rows that were kept with the model, or one made from the schema."""
        kept = store.sample(self.metadata["versions"][0])
        if kept:
            return kept[:SAMPLE_ROWS]
        from runtime.validation import example
        from serving.predictor import INPUT

        return [example(INPUT)]

    def ask(
        self, rows: list[Row], protocol: Protocol, start: int = 0, *, request_id: str = ""
    ) -> list[Row]:
        """An answer per row; `start` is the number of the first one.

        By its id, if one is given, a request is found in the payload log.

        Raises:
            ProjectError: what the server says of rows it does not answer.
        """
        path = f"{self.url}/{protocol}/models/{self.metadata['name']}"
        if protocol is Protocol.v1:
            asked = {"instances": rows}
            answers: list[Row] = call(f"{path}:predict", asked, start, request_id)["predictions"]
            return answers
        inputs = [
            {**tensor, "shape": [len(rows)], "data": [row.get(tensor["name"]) for row in rows]}
            for tensor in self.metadata["inputs"]
        ]
        outputs = call(f"{path}/infer", {"inputs": inputs}, start, request_id)["outputs"]
        names = [tensor["name"] for tensor in outputs]
        values = zip(*(tensor["data"] for tensor in outputs), strict=True)
        return [dict(zip(names, row, strict=True)) for row in values]


@contextlib.contextmanager
def asked(env: str, run: str, url: str) -> Iterator[Server]:
    """The server at a URL; without one, that of `make serve`, or one that ends afterwards."""
    if url or not run:
        server = at(url or URL)
        if server:
            yield server
            return
    if url:
        raise ProjectError(f"nothing answers at {url}: is `make serve` running there?")
    with started(env, run) as server:
        yield server


def at(url: str) -> Server | None:
    """The model server at a URL; None when nothing listens there.

    Raises:
        ProjectError: something else does.
    """
    url, name = checked(url), project().name
    try:
        metadata = call(f"{url}/v2/models/{name}")
        if metadata["name"] != name or not metadata["versions"]:
            raise KeyError(name)
    except ConnectionError:
        return None
    except (KeyError, TypeError, ProjectError):
        raise ProjectError(
            f"what answers at {url} does not serve {name}: give URL= of a server that does, or "
            "RUN= to start one"
        ) from None
    return Server(url, metadata)


def checked(url: str) -> str:
    """A URL without a slash at its end.

    Raises:
        ProjectError: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ProjectError(f"URL={url!r} must look like {URL}")
    return url.rstrip("/")


@contextlib.contextmanager
def started(env: str, run: str) -> Iterator[Server]:
    """Start a server for as long as this is open."""
    port = free_port()
    command = [sys.executable, "-m", "tools.serve", "--env", env, "--run", run, "--port", str(port)]
    with listening(command, port) as server:
        yield server


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def listening(
    command: Sequence[str], port: int, variables: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server that a command starts, once it answers at a port of this machine.

    Raises:
        ProjectError: it ends, with what it says, or never answers.
    """
    running = subprocess.Popen(
        command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while (server := at(f"http://{HOST}:{port}")) is None:
            if running.poll() is not None:
                raise ProjectError(said_by(running))
            if time.monotonic() > deadline:
                raise ProjectError(f"no server within {PATIENCE} s: try `make serve`")
            time.sleep(0.05)
        yield server
    finally:
        running.terminate()
        running.communicate()


def said_by(ended: "subprocess.Popen[str]") -> str:
    """What a server said before it ended."""
    said = ended.communicate()[1].strip()
    return said.removeprefix("✗ ") or "the server ended without a word: try `make serve`"


def call(url: str, content: Row | None = None, start: int = 0, request_id: str = "") -> Row:
    """What a server answers.

    Raises:
        ConnectionError: nothing listens there.
        ProjectError: it does not answer, or refuses; `start` is added to the rows it names.
    """
    # A proxy cannot reach this machine's own servers.
    local = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(  # noqa: S310 # http or https, see `at`
        url, data, {"content-type": "application/json", **({ID: request_id} if request_id else {})}
    )
    try:
        with opener.open(request, timeout=PATIENCE) as response:
            answer: Row = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        raise ProjectError(refusal(error, start)) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionError):
            raise error.reason from None
        raise ProjectError(f"{url} does not answer: {error.reason}") from None
    except (HTTPException, OSError, ValueError) as error:
        raise ProjectError(f"{url} does not answer as a model server: {error}") from None


def refusal(error: urllib.error.HTTPError, start: int) -> str:
    """A server's refusal as a sentence, with the broken rules below."""
    try:
        body = json.load(error)
        lines = [str(body["error"])]
    except (ValueError, KeyError, TypeError, OSError):
        return f"the server answered {error.code} {error.reason}"
    if start:
        lines[0] = f"of the rows from {start}: {lines[0]}"
    lines += [f"  {rule['message']}" for rule in body.get("violations", [])[1:]]
    if "id" in body:
        lines[0] += f": {body['id']}"
    return "\n".join(lines)


def read(file: str) -> list[Row]:
    """The rows of a CSV, Parquet or JSON file, numbers and words as they stand there.

    Raises:
        ProjectError: it is not there, or cannot be read.
    """
    path = Path(file).expanduser()
    readers = {".csv": "read_csv", ".gz": "read_csv", ".parquet": "read_parquet"}
    kind = path.suffix.lower()
    if kind not in {*readers, ".json"}:
        raise ProjectError(f"FILE={file!r} must end in .csv, .csv.gz, .parquet or .json")
    try:
        if kind == ".json":
            content = json.loads(path.read_text())
            content = content.get("instances") if isinstance(content, dict) else content
            rows = content if isinstance(content, list) else []
            if not all(isinstance(row, dict) for row in rows):
                raise ValueError("every row must be an object")
        else:
            import pandas as pd

            frame = getattr(pd, readers[kind])(path)
            plain = frame.astype(object).where(frame.notna(), None).to_dict("records")
            rows = json.loads(json.dumps(plain, default=str))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise ProjectError(f"FILE={file!r} cannot be read: {reason}") from None
    if not rows:
        raise ProjectError(f"FILE={file!r} holds no rows")
    return rows


def fitting(rows: list[Row], known: list[str]) -> tuple[list[Row], list[str]]:
    """The rows without columns that the model is not asked with, and the names of those."""
    other = sorted({str(name) for row in rows for name in row} - set(known))
    return [{name: row[name] for name in known if name in row} for row in rows], other


def table(rows: list[Row], answers: list[Row]) -> Table:
    """A line per row: some of its columns, and all that was answered."""
    names = list(rows[0])[:COLUMNS_SHOWN]
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for name in [*names, *(["…"] if len(rows[0]) > len(names) else [])]:
        shown.add_column(screen.escape(name), justify="right", style="dim")
    for name in answers[0]:
        shown.add_column(screen.escape(name), justify="right")
    for row, answer in zip(rows[:ROWS_SHOWN], answers, strict=False):
        inputs = [cell(row.get(name)) for name in names]
        more = [""] if len(rows[0]) > len(names) else []
        shown.add_row(*inputs, *more, *map(cell, answer.values()))
    return shown


def cell(value: object) -> str:
    """A value, short enough for a table."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:.3e}"
    return screen.escape("" if value is None else str(value)[:30])


if __name__ == "__main__":
    screen.start(predict)
