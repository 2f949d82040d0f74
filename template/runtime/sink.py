"""The payload log's sink: takes CloudEvents as KServe's agent sends them, and writes Parquet.

`python -m runtime.sink` in its container, `make payloads` on a laptop. `python -m runtime.sink
forget ID…` removes the rows of requests. The two events of a request may come in any order, and
more than once. What is not on the list of columns is dropped as soon as it comes.
"""

import asyncio
import hashlib
import logging
import os
import signal
import sys
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, generate_latest
from pydantic import ConfigDict, Field
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runtime import protocols
from runtime.errors import ProjectError
from runtime.events import ID, REQUEST, RESPONSE
from runtime.payloads import Exchange, PayloadSettings, PayloadStore
from runtime.protocols import RequestError
from runtime.settings import Settings

SETTINGS = Path(__file__).resolve().parents[1] / "payloads.json"
"""config/payloads.yaml, as the image holds it."""
MAX_BYTES = 8 * 2**20
"""Of one event."""
MEMORY = 64 * 2**20
"""Bytes of events that may wait for the other half, and as many that may wait to be written."""
REMEMBERED = 100_000
"""Requests whose events are known when they come again."""
UNANSWERED = 300.0
"""Seconds after which no answer is expected any more: the server has refused."""
LONGEST_ID = 200
HOUR = 3600.0

EVENTS = Counter("payload_events_total", "Events that came", ["outcome"])
ROWS = Counter("payload_rows_total", "Rows that were written")
LOST = Counter("payload_rows_lost_total", "Rows that found no room while nothing could be written")
FAILURES = Counter("payload_write_failures_total", "Times that writing failed")
REMOVED = Counter("payload_files_removed_total", "Files removed for their age, or for room")
BUFFERED = Gauge("payload_rows_buffered", "Rows that wait to be written")
log = logging.getLogger("payloads")


class Environment(Settings):
    """What the sink can be told by environment variables of the same names, in capitals."""

    model_config = ConfigDict(strict=False)

    store: str = "/payloads"
    """The folder or URI that it writes to."""
    host: str = "0.0.0.0"  # noqa: S104 # in a container nobody could reach it otherwise
    """The address that it listens at."""
    port: int = Field(default=8080, ge=1, le=65535)
    """The port that it listens at."""


@dataclass
class Half:
    """One of the two events of a request."""

    kind: str
    size: int
    rows: int
    columns: Mapping[str, list[Any]]
    model: str = ""
    model_id: str = ""
    since: float = field(default_factory=time.monotonic)


class Sink:
    """Takes events, joins them, and has them written."""

    def __init__(self, settings: PayloadSettings, store: PayloadStore) -> None:
        self._settings = settings
        self._store = store
        self._halves: OrderedDict[str, Half] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()
        self._buffer: list[tuple[Exchange, int]] = []
        self._halves_bytes = self._buffer_bytes = self._rows = 0
        self._tidied = -HOUR
        self._writes = True
        self._stopping = False
        self._full = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether what was written last could be written."""
        return self._writes

    @property
    def waiting(self) -> list[Exchange]:
        """What is to be written."""
        return [exchange for exchange, _ in self._buffer]

    def take(self, attributes: Mapping[str, str], body: bytes) -> str:
        """Take an event, and return what became of it.

        Raises:
            RequestError: it is no event of a model server.
        """
        kind, request_id = _checked(attributes)
        if not _sampled(request_id, self._settings.sampling):
            return "not sampled"
        if request_id in self._known:
            return "duplicate"
        half = self._read(kind, body)
        if half is None:
            return "other"
        other = self._halves.pop(request_id, None)
        if other is None or other.kind == kind:
            self._wait(request_id, half, other)
            return "duplicate" if other else "taken"
        self._halves_bytes -= other.size
        self._remember(request_id)
        asked, answered = (half, other) if kind == REQUEST else (other, half)
        if asked.rows not in (answered.rows, 0):
            return "other"
        exchange = Exchange(
            request_id=request_id,
            time=datetime.now(UTC),
            model=answered.model,
            model_id=answered.model_id,
            rows=answered.rows,
            inputs=asked.columns,
            outputs=answered.columns,
        )
        self._buffer.append((exchange, asked.size + answered.size))
        self._buffer_bytes += asked.size + answered.size
        self._rows += exchange.rows
        self._make_room()
        BUFFERED.set(self._rows)
        if self._rows >= self._settings.flush_rows:
            self._full.set()
        return "taken"

    async def keep_writing(self) -> None:
        """Write whenever enough rows are there, or have waited long enough, until told to stop."""
        while not self._stopping:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), self._settings.flush_seconds)
            await self.flush()
            if not self._writes:
                # What is full stays full: not at once again.
                await asyncio.sleep(min(1.0, self._settings.flush_seconds))
        if self._buffer:
            # What came while the last was being written, or could not be written then.
            await self.flush()

    def stop(self) -> None:
        """Have everything written, and then no more."""
        self._stopping = True
        self._full.set()

    async def flush(self) -> None:
        """Write what waits, and remove what is not to be kept any longer."""
        self._full.clear()
        self._expect_no_longer()
        batch, size, rows = self._buffer, self._buffer_bytes, self._rows
        self._buffer, self._buffer_bytes, self._rows = [], 0, 0
        try:
            await asyncio.to_thread(self._write, [e for e, _ in batch])
            ROWS.inc(rows)
            self._writes = True
        except Exception as error:
            FAILURES.inc()
            self._writes = False
            log.error("%s cannot be written: %s", self._store.uri, error)
            self._buffer = batch + self._buffer
            self._buffer_bytes += size
            self._rows += rows
            self._make_room()
        BUFFERED.set(self._rows)

    def _write(self, exchanges: list[Exchange]) -> None:
        if exchanges:
            self._store.write(exchanges)
        elif not self._writes:
            self._store.prepare()
        if exchanges or time.monotonic() - self._tidied > HOUR:
            REMOVED.inc(self._store.tidy(self._settings, datetime.now(UTC).date()))
            self._tidied = time.monotonic()

    def _read(self, kind: str, body: bytes) -> Half | None:
        """What is kept of an event; None when it is about something else than predictions."""
        if not body.strip():
            return None
        content = protocols.parsed(body)
        if kind == RESPONSE:
            return _answer(content, len(body))
        if "instances" not in content and "inputs" not in content:
            return None
        try:
            read = protocols.read_v1 if "instances" in content else protocols.read_v2
            columns = read(content, ())
        except RequestError:
            # Rows without names of columns, which the server knows and this does not; or a request
            # that it refused, of which no answer comes.
            return Half(kind, len(body), 0, {})
        rows = len(next(iter(columns.values()), []))
        wanted = {name: columns[name] for name in self._settings.columns if name in columns}
        return Half(kind, len(body), rows, wanted)

    def _wait(self, request_id: str, half: Half, instead_of: Half | None) -> None:
        self._halves[request_id] = half
        self._halves_bytes += half.size - (instead_of.size if instead_of else 0)
        while self._halves_bytes > MEMORY or len(self._halves) > REMEMBERED:
            self._drop_oldest()

    def _expect_no_longer(self) -> None:
        end = time.monotonic() - UNANSWERED
        while self._halves and next(iter(self._halves.values())).since < end:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, oldest = self._halves.popitem(last=False)
        self._halves_bytes -= oldest.size
        EVENTS.labels("unmatched").inc()

    def _remember(self, request_id: str) -> None:
        self._known[request_id] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _make_room(self) -> None:
        while self._buffer_bytes > MEMORY:
            oldest, size = self._buffer.pop(0)
            self._buffer_bytes -= size
            self._rows -= oldest.rows
            LOST.inc(oldest.rows)


def _checked(attributes: Mapping[str, str]) -> tuple[str, str]:
    for name in (ID, "ce-type", "ce-source", "ce-specversion"):
        if not attributes.get(name):
            raise RequestError(f"the header {name} is missing: send CloudEvents in binary mode")
    if attributes["ce-specversion"] != "1.0":
        raise RequestError("ce-specversion: must be 1.0")
    kind = attributes["ce-type"]
    if kind not in (REQUEST, RESPONSE):
        raise RequestError(f"ce-type: must be {REQUEST} or {RESPONSE}")
    if len(attributes[ID]) > LONGEST_ID:
        raise RequestError(f"{ID}: may have {LONGEST_ID} characters")
    return kind, attributes[ID]


def _sampled(request_id: str, share: float) -> bool:
    # By the id: both halves, a second delivery and every sink decide alike.
    number = int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:8])
    return number < share * 2**64


def _answer(content: Mapping[str, Any], size: int) -> Half | None:
    rows, tensors = content.get("predictions"), content.get("outputs")
    if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: [row.get(name) for row in rows] for name in names}
    elif isinstance(tensors, list) and all(
        isinstance(t, dict) and isinstance(t.get("data"), list) for t in tensors
    ):
        columns = {str(tensor.get("name")): tensor["data"] for tensor in tensors}
    else:
        return None
    counts = {len(values) for values in columns.values()}
    if len(counts) != 1:
        return None
    name, version = content.get("model_name"), content.get("model_version")
    return Half(RESPONSE, size, counts.pop(), columns, str(name or ""), str(version or ""))


def application(sink: Sink, on_ready: Callable[[], None] = lambda: None) -> Starlette:
    """The ASGI application: events by POST, health, metrics. What waits is written at its end."""

    async def event(request: Request) -> Response:
        status, outcome, reason = 200, "malformed", ""
        try:
            body = bytearray()
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise RequestError(f"an event may have {MAX_BYTES} bytes", status=413)
            outcome = sink.take(request.headers, bytes(body))
        except RequestError as refusal:
            status, reason = refusal.status, str(refusal)
        except ClientDisconnect:
            status, reason = 400, "the sender went away"
        EVENTS.labels(outcome).inc()
        return JSONResponse({"error": reason} if reason else {"outcome": outcome}, status)

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_: Request) -> Response:
        return JSONResponse({"ready": sink.ready}, 200 if sink.ready else 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        writing = asyncio.create_task(sink.keep_writing())
        on_ready()
        yield
        sink.stop()
        await writing

    return Starlette(
        routes=[
            Route("/", event, methods=["POST"]),
            Route("/health/live", live),
            Route("/health/ready", ready),
            Route("/metrics", metrics),
        ],
        lifespan=lifespan,
    )


def serve(
    settings: PayloadSettings,
    store: PayloadStore,
    *,
    host: str,
    port: int,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Take events until SIGTERM or Ctrl-C, then write what waits.

    Raises:
        ProjectError: nothing can be written there.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")
    log.setLevel(logging.INFO)
    store.prepare()
    app = application(Sink(settings, store), on_ready)
    config = uvicorn.Config(
        app, host=host, port=port, access_log=False, log_config=None, timeout_graceful_shutdown=10
    )
    server = uvicorn.Server(config)

    def end(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        # Uvicorn listens only while it serves, and raises once more what it heard when all is
        # written: then there is nothing left to do.
        signal.signal(number, end)
    server.run()


def main() -> NoReturn:
    """Do what the environment's variables and the command line say."""
    given = {field: os.environ.get(field.upper()) for field in Environment.model_fields}
    try:
        told = Environment.parse(
            {field: value for field, value in given.items() if value}, where="environment"
        )
        store = PayloadStore(told.store)
        if sys.argv[1:2] == ["forget"]:
            print(f"{store.forget(sys.argv[2:])} rows are gone")
            sys.exit(0)
        settings = PayloadSettings.from_json(SETTINGS.read_text())
        serve(
            settings,
            store,
            host=told.host,
            port=told.port,
            on_ready=lambda: log.info(
                "port %s; %.3g of the requests are written to %s, with %s of their columns",
                told.port,
                settings.sampling,
                store.uri,
                ", ".join(settings.columns) or "none",
            ),
        )
    except ProjectError as error:
        print(f"✗ {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
