"""What the model is asked and answers, as CloudEvents: the form that KServe's agent sends.

On a cluster that agent stands before the server and sends them itself, when the InferenceService
has a `logger`. Elsewhere the server does it: the same two events for each request, in the
background. An event that cannot be delivered is counted and forgotten: no answer waits for it.
"""

import logging
import queue
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from prometheus_client import Counter

from runtime.errors import ProjectError

REQUEST = "org.kubeflow.serving.inference.request"
RESPONSE = "org.kubeflow.serving.inference.response"
ID = "ce-id"
"""The header by which a client may name its request; both events carry the name."""
MAX_EVENTS = 1000
MAX_BYTES = 32 * 2**20
"""What may wait to be sent; whatever comes when that is reached is dropped."""
PATIENCE = 2.0
"""Seconds that a sink has to take an event, and that the last ones have when the server ends."""

EVENTS = Counter("model_payload_events_total", "Events to the payload log", ["outcome"])
log = logging.getLogger("serving")


def headers(kind: str, request_id: str, *, model: str) -> dict[str, str]:
    """An event's attributes, as binary mode has them; the body is the request's or the answer's."""
    return {
        "ce-specversion": "1.0",
        ID: request_id,
        "ce-type": kind,
        "ce-source": f"/v2/models/{model}",
        "ce-time": datetime.now(UTC).isoformat(),
        "ce-inferenceservicename": model,
        "ce-component": "predictor",
        "content-type": "application/json",
    }


class Sender:
    """Sends events from a thread of its own."""

    def __init__(self, url: str, *, model: str) -> None:
        """Begin to send to a URL.

        Raises:
            ProjectError: that is none.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ProjectError(f"PAYLOADS={url!r} must look like http://127.0.0.1:8090")
        self._connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._address = parts.netloc.rpartition("@")[2]
        self._path = parts.path or "/"
        self._model = model
        self._waiting: queue.Queue[tuple[Mapping[str, str], bytes] | None] = queue.Queue(MAX_EVENTS)
        self._bytes = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="payloads", daemon=True)
        self._thread.start()

    def send(self, request_id: str, asked: bytes, answered: bytes) -> None:
        """Have a request and its answer sent, soon; without room for them, never."""
        size = len(asked) + len(answered)
        with self._lock:
            full = self._bytes + size > MAX_BYTES or self._waiting.qsize() > MAX_EVENTS - 3
            if not full:
                self._bytes += size
        if full:
            EVENTS.labels("dropped").inc(2)
            return
        for kind, body in ((REQUEST, asked), (RESPONSE, answered)):
            about = headers(kind, request_id, model=self._model)
            self._waiting.put((about, body))

    def close(self) -> None:
        """Send what waits, if it can be sent quickly."""
        self._waiting.put(None)
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        connection = self._connect(self._address, timeout=PATIENCE)
        while event := self._waiting.get():
            about, body = event
            try:
                try:
                    outcome = self._post(connection, about, body)
                except ConnectionError:
                    # A connection that was idle has been closed; a sink knows what comes twice.
                    connection.close()
                    outcome = self._post(connection, about, body)
            except (OSError, HTTPException, ValueError) as error:
                connection.close()
                log.debug("the payload log does not answer", exc_info=error)
                outcome = "failed"
            EVENTS.labels(outcome).inc()
            with self._lock:
                self._bytes -= len(body)

    def _post(self, connection: HTTPConnection, about: Mapping[str, str], body: bytes) -> str:
        connection.request("POST", self._path, body, dict(about))
        response = connection.getresponse()
        response.read()
        return "sent" if response.status < 300 else "refused"
