"""A double of Kubeflow Pipelines' HTTP API (v2beta1) on loopback.

It keeps what it is given and answers in the shape that KFP 2.17 does, as far as the project's verbs
ask: for the order of requests, for retries, and for failures that nobody can order from a real one.
It runs nothing: a run goes through the states that it is told.
"""

import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

API = "/apis/v2beta1/"
# How Kubernetes' own API server passes requests on to a service.
PROXY = "/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy"
IDS = {
    "experiments": "experiment_id",
    "pipelines": "pipeline_id",
    "versions": "pipeline_version_id",
    "runs": "run_id",
    "recurringruns": "recurring_run_id",
}
LISTS = {"versions": "pipeline_versions", "recurringruns": "recurringRuns"}
NAMES_ARE_UNIQUE = ("experiments", "pipelines", "versions")
NEVER = "1970-01-01T00:00:00Z"
Record = dict[str, Any]


@dataclass
class Asked:
    """A request."""

    line: str
    """Method and path, the latter below the API's own: `GET runs`."""
    path: str
    """What stood in front of the API's own."""
    query: dict[str, str]
    token: str
    body: Record


@dataclass
class Trouble:
    """What goes wrong with requests whose line matches, one status after the other."""

    pattern: str
    statuses: list[int]
    message: str
    late: bool
    """Whether what was asked is done all the same."""


@dataclass
class KFP:
    """What the API holds, what it was asked, and what goes wrong with it."""

    progress: list[dict[str, str]] = field(default_factory=lambda: [{}])
    """What the tasks of a run are doing each time it is asked for; the run then ends."""
    ends_as: str = "SUCCEEDED"
    multi_user: bool = False
    token: str = ""
    """The only one that is let in; empty: everybody is."""
    page: bool = False
    """Whether something else than KFP answers, as a login page does."""
    slow: float = 0
    """Seconds before each answer."""
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    kept: dict[str, list[Record]] = field(default_factory=lambda: {kind: [] for kind in IDS})
    troubles: list[Trouble] = field(default_factory=list)

    def fails(
        self, pattern: str, *statuses: int, message: str = "trouble", late: bool = False
    ) -> None:
        """Answer the next requests that match with these statuses."""
        self.troubles.append(Trouble(pattern, list(statuses), message, late))

    def changes(self) -> list[str]:
        """Return the requests that were to change something, without ids."""
        lines = [asked.line for asked in self.asked if not asked.line.startswith("GET ")]
        return [re.sub(r"[0-9a-f-]{36}", "ID", line) for line in lines]

    def answer(self, asked: Asked) -> tuple[int, Record]:
        """Answer a request."""
        self.asked.append(asked)
        for trouble in self.troubles:
            if trouble.statuses and re.fullmatch(trouble.pattern, asked.line):
                if trouble.late:
                    self._done(asked)
                return trouble.statuses.pop(0), {"code": 13, "message": trouble.message}
        if self.token and asked.token != f"Bearer {self.token}":
            return 401, {"code": 16, "message": "the token is not known"}
        return self._done(asked)

    def _done(self, asked: Asked) -> tuple[int, Record]:
        method, _, path = asked.line.partition(" ")
        parts = path.split("/")
        if path == "healthz":
            return 200, {"multi_user": self.multi_user}
        if path == "pipelines/upload_version":
            return self._made("versions", {**asked.query, "pipeline_id": asked.query["pipelineid"]})
        kind = "versions" if len(parts) > 2 else parts[0]
        if kind not in IDS:
            return 404, {"code": 5, "message": "Not Found"}
        if len(parts) in (1, 3):
            if method == "POST":
                return self._made(kind, asked.body)
            return 200, self._listed(kind, parts, asked.query)
        name, _, action = parts[-1].partition(":")
        found = next((each for each in self.kept[kind] if each[IDS[kind]] == name), None)
        if found is None:
            return 404, {"code": 5, "message": f"{kind} {name} not found"}
        if method == "DELETE":
            self.kept[kind].remove(found)
        elif action == "terminate":
            found["state"] = "CANCELED"
        elif action:
            found |= {"mode": action.upper(), "status": f"{action.upper()}D"}
        elif kind == "runs":
            self._advance(found)
        return 200, found if method == "GET" else {}

    def _listed(self, kind: str, parts: list[str], query: dict[str, str]) -> Record:
        found = self.kept[kind]
        if kind == "versions":
            found = [each for each in found if each["pipeline_id"] == parts[1]]
        if "experiment_id" in query:
            found = [each for each in found if each["experiment_id"] == query["experiment_id"]]
        if "filter" in query:
            (predicate,) = json.loads(query["filter"])["predicates"]
            assert (predicate["operation"], predicate["key"]) == ("EQUALS", "display_name")
            found = [each for each in found if each["display_name"] == predicate["string_value"]]
        if query.get("sort_by") == "created_at desc":
            found = found[::-1]
        # Pages are small, so that whoever asks for all has to turn them.
        start, size = int(query.get("page_token") or 0), min(int(query["page_size"]), 2)
        answer: Record = {LISTS.get(kind, kind): found[start : start + size]}
        if start + size < len(found):
            answer["next_page_token"] = str(start + size)
        return answer

    def _made(self, kind: str, body: Record) -> tuple[int, Record]:
        name = body.get("display_name") or body["name"]
        same = [each for each in self.kept[kind] if each["display_name"] == name]
        if kind == "versions":
            same = [each for each in same if each["pipeline_id"] == body["pipeline_id"]]
        if same and kind in NAMES_ARE_UNIQUE:
            return 409, {"code": 6, "message": f"{name} already exists"}
        made = {**body, "display_name": name, IDS[kind]: str(uuid.uuid4()), "created_at": moment()}
        if kind == "runs":
            made |= {"state": "PENDING", "finished_at": NEVER, "looks": 0}
        self.kept[kind].append(made)
        return 200, made

    def _advance(self, run: Record) -> None:
        if run["state"] == "CANCELED":
            return
        looks, last = run["looks"], len(self.progress) - 1
        run["looks"] += 1
        run["run_details"] = {"task_details": tasks(self.progress[min(looks, last)])}
        run["state"] = self.ends_as if looks >= last else "RUNNING"
        if looks >= last:
            run["finished_at"] = moment(5)


def tasks(states: dict[str, str]) -> list[Record]:
    """Return what KFP says of tasks: three nodes of its workflow each, told apart by their names.

    One that was cached succeeded at once, and what would have run its container was skipped.
    """
    found = []
    for name, state in states.items():
        cached = state == "CACHED"
        said = "SUCCEEDED" if cached else state
        times = {"create_time": moment(), "start_time": moment(), "end_time": NEVER}
        if said not in ("PENDING", "RUNNING"):
            times["end_time"] = times["start_time"] if cached else moment(5)
        inner = "SKIPPED" if cached else said
        nodes = {name: said, f"{name}-driver": "SUCCEEDED", "executor": inner}
        found += [{"display_name": node, "state": nodes[node], **times} for node in nodes]
    return found


def moment(later: float = 0) -> str:
    """Return a time as KFP writes it: to the second."""
    return f"{datetime.fromtimestamp(time.time() + later, UTC):%Y-%m-%dT%H:%M:%S}Z"


@contextmanager
def serving(kfp: KFP) -> Iterator[KFP]:
    """Answer on a free port of loopback until the test is over."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            time.sleep(kfp.slow)
            url = urlsplit(self.path)
            before, _, path = url.path.partition(API)
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            body: Record = {}
            if self.headers.get_content_type() == "multipart/form-data":
                query["pipeline_spec"] = self._uploaded(content)
            elif content:
                body = json.loads(content)
            token = self.headers.get("Authorization", "")
            asked = Asked(f"{self.command} {path}", before, query, token, body)
            status, answer = kfp.answer(asked)
            kind = "text/html" if kfp.page else "application/json"
            sent = b"<p>Who are you?" if kfp.page else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def _uploaded(self, content: bytes) -> Any:
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            (part,) = message_from_bytes(head + content, policy=default).iter_parts()
            spec, *platform = yaml.safe_load_all(part.get_content())
            return {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815

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
