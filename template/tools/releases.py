"""`make releases`: what is released where, since when and why; with `ENV=`, all there ever was.

With `JSON=1` standard output is one object: `environments` or, with `ENV=`, `history`. `deployed`
is the model that the environment's model store says is in use: null when it does not answer.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer
from rich.table import Table

from runtime.errors import ProjectError
from runtime.store import model_id
from tools import history, registry, released, screen
from tools.compare import ago
from tools.project import project
from tools.release import LOCAL

Row = dict[str, Any]
WIDEST = {"why": 50, "by": 16}


def releases(
    env: Annotated[str, typer.Option(help="The history of this environment.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Show what is released in every environment, or the history of one."""
    if env:
        require_history(env)
        rows = past(env)
    else:
        with screen.console.status("Asking the model stores"), ThreadPoolExecutor() as pool:
            rows = list(pool.map(present, in_order(project().environments)))
    if as_json:
        said = {"environment": env, "history": rows} if env else {"environments": rows}
        json.dump(said, sys.stdout, indent=2)
        print()
        return
    if env and not rows:
        screen.what_next(f"Nothing was released in {env} yet: `make release ENV={env}`.")
        return
    first = ("model",) if env else ("environment", "model", "deployed")
    screen.console.print(table(rows, (*first, "metric", "released", "by", "why")))
    if env:
        screen.what_next(f"`make rollback ENV={env}` takes back what is released now.")
    else:
        screen.what_next("`make releases ENV=` shows the history of one environment.")


def require_history(env: str) -> None:
    """Refuse an environment whose releases are no commits."""
    if not project().environment(env).namespace:
        raise ProjectError(
            f"the environment {env!r} has no cluster, and its releases no history; `make releases` "
            "shows what is released there now"
        )


def in_order(names: Sequence[str]) -> list[str]:
    """Environments, those first that a model passes first."""
    known = [LOCAL, *released.ORDER]
    return sorted(names, key=lambda name: known.index(name) if name in known else len(known))


def present(env: str) -> Row:
    """What is released in an environment now."""
    environment = project().environment(env)
    try:
        sha256 = registry.champion(environment.model_store)
        deployed = model_id(sha256) if sha256 else ""
    except ProjectError:
        deployed = None
    found = released.current(env) if environment.namespace else None
    row = row_of(found) if found else {"model": "" if environment.namespace else deployed}
    return {"environment": env, **row, "deployed": deployed}


def past(env: str) -> list[Row]:
    """All releases in an environment, the newest first."""
    return [{**row_of(each.release), "commit": each.commit} for each in released.history(env)]


def row_of(found: released.Release) -> Row:
    """A release as JSON has it."""
    return {**found.model_dump(), "metrics": found.scores}


def table(rows: list[Row], columns: Sequence[str]) -> Table:
    """A line for each release."""
    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for name in columns:
        made.add_column(name, max_width=WIDEST.get(name), overflow="ellipsis")
    for row in rows:
        cells = {
            "environment": row.get("environment", ""),
            "model": row["model"] or "-",
            "deployed": deployed(row),
            "metric": score(row.get("metrics", {})),
            "released": ago(row["released_at"]) if "released_at" in row else "",
            "by": row.get("released_by", ""),
            "why": row.get("reason", ""),
        }
        made.add_row(*(screen.escape(str(cells[name])) for name in columns))
    return made


def score(metrics: Mapping[str, float]) -> str:
    """The metric that decides about a candidate; without it, the first."""
    settings = {"evaluate": project().settings("evaluate").model_dump()}
    name = history.deciding_metric(settings)
    name = name if name in metrics else next(iter(metrics), "")
    return f"{name} {metrics[name]:.4f}" if name else ""


def deployed(row: Row) -> str:
    """Whether what is released is what is in use."""
    known = row.get("deployed", "")
    if known is None:
        return "?"
    if not known:
        return "no" if row["model"] else ""
    return "yes" if known == row["model"] else f"no: {known}"


if __name__ == "__main__":
    screen.start(releases)
