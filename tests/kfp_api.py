"""A double of Kubeflow Pipelines' HTTP API (v2beta1) on loopback, for what no test can break for real.

It keeps what it is given and answers in the shape that KFP 2.17 does: as far as the project's verbs
ask, and no further. It compiles and runs nothing: a run goes through the states it is told to.
"""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

API = "/apis/v2beta1"
KINDS = {
    "experiments": "experiment_id",
    "pipelines": "pipeline_id",
    "versions": "pipeline_version_id",
    "runs": "run_id",
    "recurringruns": "recurring_run_id",
}
LISTED = {"versions": "pipeline_versions", "recurringruns": "recurringRuns"}
Record = dict[str, Any]


@dataclass
class Asked:
    """A request."""

    method: str
    path: str
    query: dict[str, str]
    token: str
    body: Record = field(default_factory=dict)


@dataclass
class KFP:
    """What the API holds, what it was asked, and what goes wrong next."""

    url: str = ""
    multi_user: bool = False
    token: str = ""
    kept: dict[str, list[Record]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    asked: list[Asked] = field(default_factory=list)
    trouble: list[tuple[re.Pattern[str], Callable[[], tuple[int, Record] | None]]] = field(
        default_factory=list
    )
    progress: list[dict[str, str]] = field(default_factory=list)
    """What the tasks of a run are doing, each time it is asked for; the last stays."""
    state: str = "SUCCEEDED"
    """What a run ends as."""

    def paths(self, method: str = "") -> list[str]:
        """Return the path of each request, without the API's own."""
        return [a.path.removeprefix(API) for a in self.asked if method in ("", a.method)]

    def fails(self, pattern: str, *answers: int, message: str = "no", late: bool = False) -> None:
        """Answer the next requests that match (as "GET /runs") so; after `late`, it is done."""
        left = list(answers)

        def next_answer() -> tuple[int, Record] | None:
            return (left.pop(0), {"code": 13, "message": message}) if left else None

        next_answer.late = late  # type: ignore[attr-defined]
        self.trouble.append((re.compile(pattern), next_answer))

    def do(self, asked: Asked) -> tuple[int, Record]:
        """Answer a request."""
        self.asked.append(asked)
        line = f"{asked.method} {asked.path.removeprefix(API)}"
        for pattern, answer in self.trouble:
            if pattern.search(line) and (wrong := answer()):
                if getattr(answer, "late", False):
                    self._done(asked)
                return wrong
        if self.token and asked.token != f"Bearer {self.token}":
            return 401, {"code": 16, "message": "the token has expired"}
        return self._done(asked)

    def _done(self, asked: Asked) -> tuple[int, Record]:
        parts = asked.path.removeprefix(API).strip("/").split("/")
        if not asked.path.startswith(API):
            return 404, {"message": "page not found"}
        if parts == ["healthz"]:
            return 200, {"multi_user": self.multi_user}
        if parts == ["pipelines", "upload_version"]:
            return self._made("versions", {**asked.query, "pipeline_id": asked.query["pipelineid"]})
        kind = "versions" if parts[2:] and parts[2] == "versions" else parts[0]
        if asked.method == "GET" and len(parts) in (1, 3):
            return 200, self._list(kind, parts, asked.query)
        if asked.method == "POST" and len(parts) == 1:
            return self._made(kind, asked.body)
        name, _, action = parts[-1].partition(":")
        found = [each for each in self.kept[kind] if each[KINDS[kind]] == name]
        if not found:
            return 404, {"code": 5, "message": f"{kind} {name} not found"}
        if asked.method == "DELETE":
            self.kept[kind].remove(found[0])
            return 200, {}
        if action in ("enable", "disable"):
            found[0] |= {"mode": action.upper(), "status": f"{action.upper()}D"}
        if action == "terminate":
            found[0]["state"] = "CANCELED"
        if kind == "runs" and not action:
            self._advance(found[0])
        return 200, found[0] if not action else {}

    def _list(self, kind: str, parts: list[str], query: dict[str, str]) -> Record:
        found = self.kept[kind]
        if kind == "versions":
            found = [each for each in found if each["pipeline_id"] == parts[1]]
        if query.get("experiment_id"):
            found = [each for each in found if each["experiment_id"] == query["experiment_id"]]
        if query.get("filter"):
            (predicate,) = json.loads(query["filter"])["predicates"]
            assert predicate["operation"] == "EQUALS"
            found = [each for each in found if each["display_name"] == predicate["string_value"]]
        if query.get("sort_by") == "created_at desc":
            found = found[::-1]
        start, size = int(query.get("page_token") or 0), int(query.get("page_size") or 20)
        answer: Record = {LISTED.get(kind, kind): found[start : start + size]}
        if start + size < len(found):
            answer["next_page_token"] = str(start + size)
        return answer

    def _made(self, kind: str, body: Record) -> tuple[int, Record]:
        name = body.get("display_name") or body.get("name")
        alike = [each for each in self.kept[kind] if each["display_name"] == name]
        if kind == "versions":
            alike = [each for each in alike if each["pipeline_id"] == body["pipeline_id"]]
        if alike and kind not in ("runs", "recurringruns"):
            return 409, {"code": 6, "message": f"{kind} {name} already exists"}
        made = {**body, "display_name": name, KINDS[kind]: str(uuid.uuid4())}
        made["created_at"] = _now()
        if kind == "runs":
            made["state"] = "PENDING"
        if kind == "recurringruns":
            made["status"] = f"{body['mode']}D"
        self.kept[kind].append(made)
        return 200, made

    def _advance(self, run: Record) -> None:
        if run["state"] == "CANCELED":
            return
        seen = run.setdefault("seen", 0)
        run["seen"] += 1
        states = self.progress[min(seen, len(self.progress) - 1)] if self.progress else {}
        over = seen >= len(self.progress) - 1
        run["state"] = self.state if over else "RUNNING"
        if over:
            run["finished_at"] = _now()
        run["run_details"] = {"task_details": _tasks(states)}


def _tasks(states: dict[str, str]) -> list[Record]:
    """Return what KFP says of tasks: each is three nodes of the workflow, known by their names."""
    found = []
    for name, state in states.items():
        moment = {"create_time": _now(), "start_time": _now()}
        cached = state == "CACHED"
        said = "SUCCEEDED" if cached else state
        over = {"end_time": _now()} if said not in ("RUNNING", "PENDING") else {}
        if said == "SUCCEEDED" and not cached:
            over["end_time"] = _now(5)
        found.append({"display_name": name, "state": said, **moment, **over})
        found.append({"display_name": f"{name}-driver", "state": "SUCCEEDED", **moment, **over})
        inner = "SKIPPED" if cached else said
        found.append({"display_name": "executor", "state": inner, **moment, **over})
    return found


def _now(later: float = 0) -> str:
    moment = datetime.fromtimestamp(time.time() + later, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z"


@contextmanager
def serving(kfp: KFP) -> Iterator[KFP]:
    """Answer on a free port of loopback until the test is over."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            url = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            body: Record = {}
            if self.headers.get_content_type() == "multipart/form-data":
                head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
                (part,) = BytesParser().parsebytes(head + content).get_payload()
                uploaded = part.get_payload(decode=True).decode()
                spec, *platform = yaml.safe_load_all(uploaded)
                query["pipeline_spec"] = (
                    {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec
                )
            elif content:
                body = json.loads(content)
            token = self.headers.get("Authorization", "")
            status, answer = kfp.do(Asked(self.command, url.path, query, token, body))
            sent = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_DELETE = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kfp.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield kfp
    finally:
        server.shutdown()
        server.server_close()
