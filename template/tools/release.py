"""`make release`: make a registered model the champion of an environment."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from runtime import served
from runtime.records import ModelRecord
from runtime.store import model_id
from tools import registry, screen
from tools.project import ROOT


def release(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    run: Annotated[str, typer.Option(help="A model's id or a run's; empty: the newest.")] = "",
) -> None:
    """Verify the model, release it, and show it beside the one before."""
    store = registry.store(env)
    model = registry.named(env, run) if run else registry.newest(env)
    with tempfile.TemporaryDirectory() as folder:
        served.fetched(store, model.model_id, Path(folder))
    before = store.champion()
    if before == model.sha256:
        screen.console.print(f"Model {model.model_id} is already released in {env}.")
    else:
        store.release(model.model_id)
        known = store.find(model_id(before)) if before else None
        screen.console.print(beside(model, known))
        instead = f", instead of {model_id(before)}" if before else "; none was before"
        screen.console.print(f"Model {model.model_id} is released in {env}{instead}.")
    if (ROOT / "tools" / "serve.py").exists():
        screen.what_next("`make serve` answers requests with it; `make predict` asks it.")
    if (ROOT / "pipelines" / "batch_prediction.py").exists():
        screen.what_next("`make run PIPELINE=batch_prediction` predicts for a whole table.")
    screen.what_next("`make run` compares what it trains with it from now on.")


def beside(model: ModelRecord, before: ModelRecord | None) -> Table:
    """The metrics of both models, as they were when each was registered."""
    table = Table("metric", box=None, pad_edge=False, header_style="dim")
    table.add_column(model.model_id, justify="right")
    if before:
        table.add_column(f"before: {before.model_id}", justify="right")
    for name, value in model.metrics.items():
        cells = [f"{value:.4f}"]
        if before:
            cells.append(f"{before.metrics[name]:.4f}" if name in before.metrics else "")
        table.add_row(name, *cells)
    return table


if __name__ == "__main__":
    screen.start(release)
