"""`make runs`: the newest runs of this project on an environment's cluster; follow or end one."""

import json
import sys
from datetime import timedelta
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from runtime.errors import ProjectError
from tools import screen
from tools.cluster import BY, Cluster
from tools.compare import ago
from tools.project import project

SHOWN = 10
GOING = ("PENDING", "RUNNING", "CANCELING", "PAUSED")
WIDEST = {"by": 12}
STYLES = {"succeeded": "green", "failed": "red", "running": "cyan", "canceled": "yellow"}


def runs(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    last: Annotated[int, typer.Option(min=1, max=200, help="So many of the newest.")] = SHOWN,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    run: Annotated[str, typer.Option(help="Follow this one to its end.")] = "",
    stop: Annotated[str, typer.Option(help="End this one.")] = "",
) -> None:
    """Show the newest runs; or follow one, or end one."""
    environment = project().environment(env)
    try:
        environment.require_cluster(env)
    except ProjectError as error:
        raise ProjectError(f"{error}. The runs of this machine: `make compare`") from None
    cluster = Cluster(env, environment)
    if stop:
        cluster.stop(cluster.find_run(stop).run_id)
        screen.what_next(f"It is being ended; `make runs ENV={env}` shows when it is over.")
        return
    if run:
        from tools.watch import watch

        watch(cluster, cluster.find_run(run))
        return
    rows = [row(cluster, each) for each in cluster.runs(last)]
    if as_json:
        json.dump({"environment": env, "runs": rows}, sys.stdout, indent=2)
        print()
        return
    if not rows:
        screen.what_next(f"No run yet in {env}: `make submit ENV={env}` starts one.")
        return
    screen.console.print(table(rows))
    screen.what_next(f"`make runs ENV={env} RUN={rows[0]['name']}` follows the newest one.")


def row(cluster: Cluster, found: Any) -> dict[str, Any]:
    """What is said of a run."""
    ended = found.finished_at if found.state not in GOING else None
    description = found.description or ""
    return {
        "name": found.display_name,
        "run_id": found.run_id,
        "pipeline": cluster.pipeline_name(found),
        "state": (found.state or "PENDING").lower(),
        "started_at": found.created_at.isoformat(),
        "seconds": (ended - found.created_at).total_seconds() if ended else None,
        "by": "schedule" if found.recurring_run_id else description.removeprefix(BY),
        "page": cluster.page(found.run_id),
    }


def table(rows: list[dict[str, Any]]) -> Table:
    """A row per run, the newest first."""
    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1, 0, 0))
    for name in ("run", "pipeline", "state", "started", "took", "by"):
        side: Literal["left", "right"] = "right" if name == "took" else "left"
        made.add_column(name, justify=side, no_wrap=True, max_width=WIDEST.get(name))
    for each in rows:
        state = f"[{STYLES.get(each['state'], 'dim')}]{each['state']}[/]"
        taken = "" if each["seconds"] is None else f"{timedelta(seconds=int(each['seconds']))}"
        cells = (each["name"], each["pipeline"], state, ago(each["started_at"]), taken, each["by"])
        made.add_row(*cells)
    return made


if __name__ == "__main__":
    screen.start(runs)
