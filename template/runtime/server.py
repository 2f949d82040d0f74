"""The model server: KServe's, around one model that has been verified and tried.

Its own routes take the place of KServe's wherever a request names the model, so that whatever is
sent gets an answer that says what is wrong with it; health, lists and metrics are KServe's.
"""

import asyncio
import logging
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
import orjson
import pandas as pd
import pandera.pandas as pa
from kserve import Model, ModelServer
from kserve.model import InferenceVerb
from kserve.model_server import app
from prometheus_client import Counter, Gauge
from pydantic import ConfigDict, Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from runtime import explanation, protocols
from runtime.acceptance import Acceptance
from runtime.errors import ProjectError
from runtime.events import ID, Sender
from runtime.protocols import Answers, Columns, RequestError
from runtime.served import Found, fetched, from_folder, released
from runtime.settings import Settings
from runtime.store import ModelStore
from runtime.validation import ROWS_SHOWN, Violation, example, validated

VIOLATIONS_SHOWN = 20
CHARACTERS_SHOWN = 300
MAX_BYTES = 4 * 2**20
QUICK = 0.02
"""Seconds: a model whose last answer took less may keep the server from all else meanwhile."""
FEW_ROWS = 20
GRACE = 30
"""Seconds that requests in flight have to end after SIGTERM."""

REQUESTS = Counter("model_requests_total", "Requests for the model", ["protocol", "verb", "status"])
ROWS = Counter("model_rows_total", "Rows that were answered", ["protocol"])
ERRORS = Counter("model_errors_total", "Requests in which the model failed", ["protocol"])
INFO = Gauge(
    "model_info",
    "The model that is served: always 1",
    ["model_name", "model_version", "sha256", "data_version", "train_sha256"],
)
log = logging.getLogger("serving")


class Predictor(Protocol):
    """What a project says of its model: the module serving/predictor.py."""

    INPUT: pa.DataFrameSchema
    EXPLAIN: bool

    def load(self, folder: Path, sha256: str) -> Any:
        """The model."""

    def predict(self, model: Any, rows: pd.DataFrame) -> Answers:
        """A value per row: `answer`, and what else a client gets."""

    def explain(
        self, model: Any, rows: pd.DataFrame, background: pd.DataFrame
    ) -> list[dict[str, Any]]:
        """An explanation per row."""


class Environment(Settings):
    """What the server can be told by environment variables of the same names, in capitals."""

    model_config = ConfigDict(strict=False)

    model_folder: Path = Path("/mnt/models")
    """A folder of a model store, copied: `model/`, `record.json`, `sample.json`."""
    model_store: str = ""
    """A model store to take the released model from, instead of a folder."""
    model: str = ""
    """Of the model store, the id of a registered model, instead of the released one."""
    model_sha256: str = ""
    """The only model to serve: refuse any other."""
    model_name: str = ""
    """What clients call it; empty: the name of the project."""
    host: str = "0.0.0.0"  # noqa: S104 # in a container nobody could reach it otherwise
    """The address that it listens at."""
    port: int = Field(default=8080, ge=1, le=65535)
    """The port that it listens at."""
    max_request_bytes: int = Field(default=MAX_BYTES, ge=1)
    """A larger request is refused."""
    access_log: bool = False
    """Whether each request is a line of the log: path and status, and nothing of what was asked."""
    payloads: str = ""
    """URL of a payload log (runtime/sink.py) to tell of requests and answers; empty: none is told.

    On a cluster KServe's agent does it: there this stays empty.
    """

    def find(self, folder: Path) -> Found:
        """The model, copied into an empty folder if it is in a store."""
        if not self.model_store:
            return from_folder(self.model_folder)
        store = ModelStore(self.model_store)
        return fetched(store, self.model or released(store), folder)


class Server(Model):  # type: ignore[misc] # kserve has no types
    """One model: requests in, answers out, by both protocols."""

    def __init__(self, name: str, predictor: Predictor, found: Found) -> None:
        super().__init__(name)
        self.record = found.record
        self.version = found.record.model_id
        self._predictor = predictor
        self._acceptance = Acceptance(predictor.INPUT)
        self.names = [str(name) for name in predictor.INPUT.columns]
        # One at a time: the model need not be safe for threads, and health is answered meanwhile.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._waiting = 0
        self._quick = False
        if predictor.EXPLAIN:
            explanation.check()
        try:
            self._model = predictor.load(found.folder, found.record.sha256)
            self._background = self._tried(found.sample)
        except (ProjectError, RequestError):
            raise
        except Exception as error:
            log.debug("the model does not start", exc_info=error)
            raise ProjectError(
                f"model {self.version} does not answer its sample "
                f"({type(error).__name__}: {error}): is it older than today's code? "
                "`make run` trains it again"
            ) from error
        self.ready = True
        data = found.record.data
        INFO.labels(name, self.version, found.record.sha256, data.version, data.train_sha256).set(1)

    def _tried(self, sample: list[dict[str, Any]]) -> pd.DataFrame:
        rows = sample or [example(self._predictor.INPUT)]
        try:
            frame = self.checked(protocols.read_v1({"instances": rows}, self.names))
        except RequestError as refusal:
            raise ProjectError(
                f"the sample of model {self.version} does not keep src/*/schema.py "
                f"({refusal}): `make run` registers one that does"
            ) from None
        self.answers = self._predictor.predict(self._model, frame)
        if "answer" not in self.answers or {*map(len, self.answers.values())} != {len(frame)}:
            raise ProjectError(
                "predict in serving/predictor.py must return `answer`, and a value for each row"
            )
        if self._predictor.EXPLAIN:
            if not sample:
                raise ProjectError(
                    f"model {self.version} was registered without a sample to compare with: add "
                    '"sample" to the summary in steps/evaluate/component.py, as '
                    "runtime.datasets.sample gives it, and `make run`"
                )
            self._predictor.explain(self._model, frame.head(1), frame)
        return frame

    def checked(self, columns: Columns) -> pd.DataFrame:
        """The rows as the model takes them.

        Raises:
            RequestError: they break a rule of the schema.
        """
        frame = self._acceptance.frame(columns)
        if frame is not None:
            return frame
        schema = self._predictor.INPUT
        if len(columns) > len(self.names):
            unknown = sorted(columns.keys() - set(self.names))
            if schema.strict or len(unknown) > len(self.names):
                _refuse([Violation(None, f"column {unknown[0]!r} is not in the schema")])
        frame, wrong = validated(pd.DataFrame(columns, dtype=object), schema)
        wrong = wrong or _infinite(frame)
        if wrong:
            _refuse(wrong)
        return frame

    async def predict(self, payload: Columns, headers: Any = None) -> Answers:
        """Answer each row."""
        if not self._waiting and self._quick and len(next(iter(payload.values()), ())) <= FEW_ROWS:
            # Going to the worker and back would take as long as all else that is not the model.
            return self._predict(payload)
        answers: Answers = await self._working(self._predict, payload)
        return answers

    async def explain(self, payload: Columns, headers: Any = None) -> list[dict[str, Any]]:
        """Explain each row's answer."""
        found: list[dict[str, Any]] = await self._working(self._explain, payload)
        return found

    async def _working(self, work: Callable[[Columns], Any], columns: Columns) -> Any:
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work, columns)
        finally:
            self._waiting -= 1

    def _predict(self, columns: Columns) -> Answers:
        started = time.perf_counter()
        answers = self._predictor.predict(self._model, self.checked(columns))
        self._quick = time.perf_counter() - started < QUICK
        return answers

    def _explain(self, columns: Columns) -> list[dict[str, Any]]:
        if not self._predictor.EXPLAIN:
            raise RequestError("explain is not turned on for this model", status=404)
        frame = self.checked(columns)
        answers = self._predictor.predict(self._model, frame)["answer"].tolist()
        found = self._predictor.explain(self._model, frame, self._background)
        return [{"answer": a, **why} for a, why in zip(answers, found, strict=True)]

    def description(self) -> dict[str, Any]:
        """V2's metadata of the model, and what it was made of."""
        record = self.record
        columns = self._predictor.INPUT.columns.items()
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": "kserve",
            "inputs": [
                {"name": name, "datatype": protocols.datatype(column.dtype), "shape": [-1]}
                for name, column in columns
            ],
            "outputs": [
                {"name": name, "datatype": protocols.datatype(values.dtype), "shape": [-1]}
                for name, values in self.answers.items()
            ],
            "parameters": {
                "sha256": record.sha256,
                "registered_at": record.registered_at,
                "data_version": record.data.version,
                "train_sha256": record.data.train_sha256,
                "git_commit": record.lineage.git_commit or "",
                "explain": self._predictor.EXPLAIN,
            },
        }


class Endpoints:
    """The routes that name the model."""

    def __init__(self, model: Server, max_bytes: int, sender: Sender | None = None) -> None:
        self._model = model
        self._max_bytes = max_bytes
        self._sender = sender

    def routes(self) -> list[BaseRoute]:
        """Routes for an ASGI application; the first that fits a path answers it."""
        table: list[tuple[str, str, str, str, Callable[[Request], Awaitable[bytes]]]] = [
            ("POST", "/v1/models/{model}:predict", "v1", "predict", self._v1_predict),
            ("POST", "/v1/models/{model}:explain", "v1", "explain", self._v1_explain),
            ("GET", "/v1/models/{model}", "v1", "ready", self._v1_ready),
        ]
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            table += [
                ("POST", f"{path}/infer", "v2", "infer", self._v2_infer),
                ("GET", f"{path}/ready", "v2", "ready", self._v2_ready),
                ("GET", path, "v2", "metadata", self._v2_metadata),
            ]
        # Which model is served is decided by who starts the server, not by who can reach it.
        table.append(("POST", "/v2/repository/{rest:path}", "v2", "repository", self._nothing))
        return [
            Route(path, self._endpoint(protocol, verb, answer), methods=[method])
            for method, path, protocol, verb, answer in table
        ]

    def _endpoint(
        self, protocol: str, verb: str, answer: Callable[[Request], Awaitable[bytes]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            status, headers = 200, {}
            try:
                self._named(request)
                content = await answer(request)
            except RequestError as refusal:
                status, content = refusal.status, orjson.dumps(refusal.body)
                # What is left of a body that is too large is not read.
                headers = {"connection": "close"} if status == 413 else {}
            except ClientDisconnect:
                status, content = 400, b""
            except Exception as error:
                number = uuid.uuid4().hex
                log.error("error %s in %s %s", number, protocol, verb, exc_info=error)
                ERRORS.labels(protocol).inc()
                told = {"error": "the model failed; its log says more under this id", "id": number}
                status, content = 500, orjson.dumps(told)
            REQUESTS.labels(protocol, verb, status).inc()
            return Response(content, status, headers, media_type="application/json")

        return endpoint

    def _named(self, request: Request) -> None:
        asked = request.path_params
        if asked.get("model", self._model.name) != self._model.name:
            raise RequestError(
                f"there is no such model; this one is {self._model.name}", status=404
            )
        if asked.get("version", self._model.version) != self._model.version:
            raise RequestError(
                f"there is no such version; this one is {self._model.version}", status=404
            )

    async def _read(self, request: Request) -> dict[str, Any]:
        if "inference-header-content-length" in request.headers:
            raise RequestError("binary data is not taken: send JSON")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_bytes:
                raise RequestError(f"a request may have {self._max_bytes} bytes", status=413)
        content = bytes(body)
        if self._sender:
            request.state.body = content
        return protocols.parsed(content)

    def _tell(self, request: Request, answer: bytes) -> None:
        if self._sender:
            request_id = request.headers.get(ID) or str(uuid.uuid4())
            self._sender.send(request_id, request.state.body, answer)

    async def _v1_predict(self, request: Request) -> bytes:
        columns = protocols.read_v1(await self._read(request), self._model.names)
        answers, _ = await self._model(columns, headers=request.headers)
        ROWS.labels("v1").inc(len(answers["answer"]))
        said = protocols.write_v1(answers, self._model.name, self._model.version)
        self._tell(request, said)
        return said

    async def _v1_explain(self, request: Request) -> bytes:
        columns = protocols.read_v1(await self._read(request), self._model.names)
        found, _ = await self._model(columns, headers=request.headers, verb=InferenceVerb.EXPLAIN)
        return orjson.dumps({"explanations": found})

    async def _v1_ready(self, _: Request) -> bytes:
        return orjson.dumps({"name": self._model.name, "ready": self._model.ready})

    async def _v2_infer(self, request: Request) -> bytes:
        content = await self._read(request)
        columns = protocols.read_v2(content, self._model.names)
        answers, _ = await self._model(columns, headers=request.headers)
        ROWS.labels("v2").inc(len(answers["answer"]))
        said = protocols.write_v2(answers, content, self._model.name, self._model.version)
        self._tell(request, said)
        return said

    _v2_ready = _v1_ready

    async def _v2_metadata(self, _: Request) -> bytes:
        return orjson.dumps(self._model.description())

    async def _nothing(self, _: Request) -> bytes:
        raise RequestError("models are not loaded or unloaded by request", status=404)


class Listening(ModelServer):  # type: ignore[misc] # kserve has no types
    """KServe's server, told where to listen, that says when it does."""

    def __init__(self, *, host: str, port: int, on_ready: Callable[[], None]) -> None:
        super().__init__(
            http_port=port,
            workers=1,
            enable_grpc=False,
            enable_latency_logging=False,
            grace_period=GRACE,
        )
        self._host = host
        self._on_ready = on_ready

    async def _serve(self) -> None:
        self._rest_server.config.host = self._host
        saying = asyncio.create_task(self._say())
        await super()._serve()
        saying.cancel()

    async def _say(self) -> None:
        while not self._rest_server._server.started:
            await asyncio.sleep(0.01)
        self._on_ready()


def serve(
    model: Server,
    *,
    host: str,
    port: int,
    max_bytes: int = MAX_BYTES,
    access_log: bool = False,
    sender: Sender | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Answer requests until SIGTERM or Ctrl-C, and those in flight to their end.

    The model has answered its sample before anything listens: whoever reaches it, is answered.
    With a `sender`, a payload log is told of requests and answers.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s")
    log.setLevel(logging.INFO)
    for logger in ("kserve", "uvicorn.error"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if access_log else logging.WARNING)
    app.router.routes[:0] = Endpoints(model, max_bytes, sender).routes()
    Listening(host=host, port=port, on_ready=on_ready).start([model])
    if sender:
        sender.close()


def main(predictor: Predictor, name: str) -> NoReturn:
    """Serve as the environment's variables say, and leave with an exit code that says how it went.

    The way of a container; on a laptop it is `make serve`.
    """
    given = {field: os.environ.get(field.upper()) for field in Environment.model_fields}
    try:
        told = Environment.parse(
            {field: value for field, value in given.items() if value}, where="environment"
        )
        with tempfile.TemporaryDirectory() as folder:
            found = told.find(Path(folder))
            if told.model_sha256 not in ("", found.record.sha256):
                raise ProjectError(
                    f"the model is {found.record.sha256}, and MODEL_SHA256 asks for "
                    f"{told.model_sha256}"
                )
            model = Server(told.model_name or name, predictor, found)
        sender = Sender(told.payloads, model=model.name) if told.payloads else None
    except ProjectError as error:
        print(f"✗ {error}", file=sys.stderr)
        sys.exit(1)
    serve(
        model,
        host=told.host,
        port=told.port,
        max_bytes=told.max_request_bytes,
        access_log=told.access_log,
        sender=sender,
        on_ready=lambda: log.info(
            "%s, version %s, listens on port %s", model.name, model.version, told.port
        ),
    )
    sys.exit(0)


def _refuse(wrong: list[Violation]) -> NoReturn:
    shown = wrong[:VIOLATIONS_SHOWN]
    rules = [
        {
            "column": v.column,
            "rule": v.rule,
            "rows": list(v.rows[:ROWS_SHOWN]),
            "message": _short(v),
        }
        for v in shown
    ]
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    raise RequestError(f"{_short(wrong[0])}{more}", violations=rules)


def _infinite(frame: pd.DataFrame) -> list[Violation]:
    numbers = frame.select_dtypes("number")
    wrong = np.isinf(numbers.to_numpy(dtype="float64", na_value=np.nan))
    return [
        Violation(str(name), "finite", tuple(numbers.index[rows]), (float("inf"),))
        for name, rows in zip(numbers.columns, wrong.T, strict=True)
        if rows.any()
    ]


def _short(violation: Violation) -> str:
    text = str(violation)
    return text if len(text) <= CHARACTERS_SHOWN else f"{text[:CHARACTERS_SHOWN]}…"
