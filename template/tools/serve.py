"""`make serve`: the model server on this machine, reachable from this machine alone."""

import socket
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from runtime import served
from runtime.errors import ProjectError
from runtime.records import ModelRecord
from tools import registry, screen
from tools.project import project

HOST = "127.0.0.1"


def serve(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    run: Annotated[str, typer.Option(help="A model's id or a run's; empty: the released.")] = "",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where it listens.")] = 8080,
    payloads: Annotated[str, typer.Option(help="URL of a payload log; empty: none.")] = "",
) -> None:
    """Answer requests by KServe's two protocols, until Ctrl-C."""
    record = registry.named(env, run) if run else registry.released(env)
    refuse_taken(port)
    with tempfile.TemporaryDirectory() as folder:
        found = served.fetched(registry.store(env), record.model_id, Path(folder))
        # Late: they take longer than finding out that there is nothing to serve.
        from runtime import server
        from runtime.events import Sender
        from serving import predictor

        model = server.Server(project().name, predictor, found)
    sender = Sender(payloads, model=model.name) if payloads else None
    server.serve(
        model,
        host=HOST,
        port=port,
        sender=sender,
        on_ready=lambda: announce(record, env, port, payloads),
    )
    screen.console.print("Stopped.")


def refuse_taken(port: int) -> None:
    """Refuse a port that something else listens on.

    Raises:
        ProjectError: the port is taken, or not for this user.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ProjectError(
                f"port {port} cannot be used ({error.strerror}): stop what uses it, or choose "
                f"another, as in PORT={port + 1 if port < 65535 else port - 1}"
            ) from None


def announce(record: ModelRecord, env: str, port: int, payloads: str) -> None:
    """Say what is served and how to ask it."""
    url = f"http://{HOST}:{port}"
    name = project().name
    rows = {
        "model": f"{record.model_id}, of data {record.data.version}",
        "listens": url,
        "metadata": f"{url}/v2/models/{name}",
        "metrics": f"{url}/metrics",
    }
    if payloads:
        rows["payloads"] = f"told to {payloads}"
    for title, value in rows.items():
        screen.console.print(f"{title:<10}{screen.escape(value)}", soft_wrap=True)
    elsewhere = "" if port == 8080 else f" URL={url}"
    screen.what_next(f"In another terminal: `make predict{elsewhere}`. Ctrl-C stops the server.")
    screen.console.file.flush()


if __name__ == "__main__":
    screen.start(serve)
