"""`make payloads`: the payload log on this machine, reachable from this machine alone."""

from typing import Annotated

import typer

from runtime import sink
from runtime.errors import ProjectError
from runtime.payloads import PayloadSettings, PayloadStore
from tools import screen, serve
from tools.project import ROOT, project

STORE = "artifacts/payloads"


def payloads(
    store: Annotated[str, typer.Option(help="A folder or URI to write to.")] = STORE,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where it listens.")] = 8090,
    forget: Annotated[str, typer.Option(help="Ids of requests, to remove their rows.")] = "",
) -> None:
    """Keep what the model is asked and answers, as config/payloads.yaml says, until Ctrl-C."""
    settings: PayloadSettings = project().payloads
    refuse_unknown(settings)
    log = PayloadStore(store if "://" in store else str(ROOT / store))
    if forget:
        rows = log.forget(forget.replace(",", " ").split())
        screen.what_next(f"{rows} {'row is' if rows == 1 else 'rows are'} gone from {store}.")
        return
    serve.refuse_taken(port)
    sink.serve(
        settings, log, host=serve.HOST, port=port, on_ready=lambda: announce(settings, store, port)
    )
    screen.console.print("Stopped; all that waited is written.")


def refuse_unknown(settings: PayloadSettings) -> None:
    """Refuse to keep columns that the model is never asked with.

    Raises:
        ProjectError: there is one.
    """
    from serving.predictor import INPUT

    known = [str(name) for name in INPUT.columns]
    for name in settings.columns:
        if name not in known:
            raise ProjectError(
                f"config/payloads.yaml: columns: the model has no input {name!r}; it has "
                f"{', '.join(known)}"
            )


def announce(settings: PayloadSettings, store: str, port: int) -> None:
    """Say what is kept, where, and how the server is told."""
    rows = {
        "keeps": f"{settings.sampling:.3g} of the requests",
        "columns": ", ".join(settings.columns) or "none: the answers alone",
        "for": f"{settings.retention_days} days, {settings.max_megabytes} MB at most",
        "in": store,
    }
    for title, value in rows.items():
        screen.console.print(f"{title:<10}{screen.escape(value)}", soft_wrap=True)
    if not settings.sampling:
        screen.warn("nothing is kept: raise `sampling` in config/payloads.yaml")
    screen.what_next(
        f"In another terminal: `make serve PAYLOADS=http://{serve.HOST}:{port}`. Ctrl-C stops it."
    )
    screen.console.file.flush()


if __name__ == "__main__":
    screen.start(payloads)
