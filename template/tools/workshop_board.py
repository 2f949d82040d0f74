"""`make workshop-board`: a page in the room's own network that shows who is where.

Whoever has set WORKSHOP_BOARD to its address is on it from the next `make workshop-check` on: a
name, and the numbers of labs; nothing else is sent, and nothing is kept.
"""

import json
import os
import socket
import threading
import time
import urllib.request
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, ClassVar

import typer
from pydantic import Field

from runtime.errors import ProjectError
from runtime.settings import Settings
from tools import pages, screen
from tools.commit import author
from tools.labs.lab import labs
from tools.labs.progress import Progress

VARIABLE = "WORKSHOP_BOARD"
LONGEST = 4096
"""Bytes of a message; a name and a dozen numbers are far fewer."""
MOST = 200
"""People on a board."""
PATIENCE = 2
STUCK = 15 * 60
"""Seconds after which somebody who still looks for the same lab may want to be asked."""


class Place(Settings):
    """Where somebody is."""

    name: str = Field(min_length=1, max_length=60)
    done: list[int] = Field(max_length=99)
    """The labs that are done."""
    hints: int = Field(ge=0, le=99)
    """How many hints were needed about what is missing now."""
    at: int = Field(ge=0, le=99)
    """The lab that is next; 0 when all are done."""


class Board:
    """Who is where, and since when."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[Place, float]] = {}
        self._lock = threading.Lock()

    def put(self, place: Place) -> None:
        """Take what somebody says; on a full board nobody new."""
        with self._lock:
            before = self._places.get(place.name)
            if before is None and len(self._places) >= MOST:
                return
            since = before[1] if before and before[0].at == place.at else time.monotonic()
            self._places[place.name] = (place, since)

    def page(self) -> str:
        """The board as a page that looks again by itself."""
        with self._lock:
            places = sorted(self._places.values(), key=lambda each: each[0].name.casefold())
        now = time.monotonic()
        rows = [(place, now - since) for place, since in places]
        return pages.rendered("workshop-board.html.j2", labs=labs(), rows=rows, stuck=STUCK)


class Handler(BaseHTTPRequestHandler):
    """Gives the page, and takes messages."""

    board: ClassVar[Board]
    timeout = 10

    def do_GET(self) -> None:
        """Give the page."""
        self._answer(200, self.board.page())

    def do_POST(self) -> None:
        """Take a message of one participant."""
        try:
            length = int(self.headers.get("content-length", ""))
            if not 0 < length <= LONGEST:
                raise ValueError(length)
            self.board.put(Place.from_json(self.rfile.read(length).decode()))
        except (ValueError, ProjectError):
            self._answer(400, "not understood")
            return
        self._answer(200, "thank you")

    def _answer(self, code: int, text: str) -> None:
        content = text.encode()
        self.send_response(code)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


def tell(progress: Progress) -> None:
    """Say on the room's board where this participant is, if there is one."""
    url = os.environ.get(VARIABLE, "")
    if not url:
        return
    following = progress.next()
    seen = progress.of(following) if following else None
    place = {
        "name": author()[:60],
        "done": progress.done,
        "at": following.number if following else 0,
        "hints": min(99, sum(seen.hints.values())) if seen else 0,
    }
    try:
        if not url.startswith(("http://", "https://")):
            raise ValueError("it must look like http://192.168.1.20:8200")
        request = urllib.request.Request(url, json.dumps(place).encode())  # noqa: S310 # as above
        urllib.request.urlopen(request, timeout=PATIENCE).close()  # noqa: S310
    except (OSError, HTTPException, ValueError) as error:
        screen.warn(f"the board {url} was not told ({VARIABLE}): {error}")


def board(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of this machine.")] = 8200,
) -> None:
    """Show who is where until Ctrl-C."""
    Handler.board = Board()
    try:
        # For the room, so for every network that this machine is in.
        server = ThreadingHTTPServer(("", port), Handler)
    except OSError as error:
        raise ProjectError(
            f"port {port} of this machine cannot be used ({error.strerror}): PORT= takes another"
        ) from None
    screen.console.print(f"The board is at http://{address()}:{port}, for all in this network.")
    screen.what_next(
        f"In the room: `export {VARIABLE}=http://{address()}:{port}`; then `make workshop-check` "
        "puts a name on it. Ctrl-C ends it."
    )
    with server:
        server.serve_forever()


def address() -> str:
    """This machine's address in its network, as far as it knows."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: it is only asked which way it would go.
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()


if __name__ == "__main__":
    screen.start(board)
