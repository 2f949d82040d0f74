"""`make compare`: runs side by side, on the screen, as a page and for machines."""

import importlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from runtime.errors import ProjectError
from tools import history, screen
from tools.project import ROOT, TRACKING, project

PAGE = "compare.html"
LOCAL = "local"
Records = Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]
"""The id of each run, and what reads its record."""
SHOWN = 20
"""Runs on the screen, unless LAST says how many."""
MOST_CHARTS = 8
SHORT = 12
"""Letters of a hash."""
COLUMNS = ("run", "when", "state", "seconds", "data", "commit")
ENDINGS = {"succeeded": "green", "failed": "red", "interrupted": "yellow"}


def compare(
    pipeline: Annotated[str, typer.Option(help="Whose runs.")] = "training",
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    sort: Annotated[str, typer.Option(help="A metric, setting or column; the newest first.")] = "",
    last: Annotated[int | None, typer.Option(min=1, help="Only the newest so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    source: Annotated[str, typer.Option(help="local, or mlflow: all that is tracked.")] = LOCAL,
) -> None:
    """Show the runs of a pipeline side by side, and of their settings those that differ."""
    runs, skipped = read(records(env, source), pipeline)
    comparison = Comparison(runs[-last:] if last else runs, skipped)
    if as_json:
        json.dump(comparison.as_json(pipeline, sort), sys.stdout, indent=2)
        print()
        return
    for name, reason in skipped.items():
        screen.console.print(f"[dim]{name} is left out: {screen.escape(reason)}[/]", soft_wrap=True)
    if not runs:
        project().require_pipeline(pipeline)
        raise ProjectError(history.none_yet(env, pipeline))
    show(comparison, sort, last or SHOWN)
    path = history.artifacts(env) / PAGE
    write(comparison, pipeline, path)
    screen.console.print(f"page  {path.relative_to(ROOT)}", soft_wrap=True)
    screen.what_next("`make report RUN=` shows one of them.")


@dataclass(frozen=True)
class Run:
    """What a comparison takes from a run's record."""

    run_id: str
    state: str
    started_at: str
    seconds: float
    data_version: str
    commit: str
    """Empty outside a git repository."""
    dirty: bool
    model: str
    """The id of the model that it registered; empty when it did not."""
    metrics: dict[str, float] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    """Every setting, as `<step>.<key>`."""
    decides: str = ""
    """The metric that decided about the candidate."""


@dataclass(frozen=True)
class Comparison:
    """Runs, the oldest first, and what can be said of them together."""

    runs: list[Run]
    skipped: dict[str, str]

    @cached_property
    def metrics(self) -> list[str]:
        """All metrics; the one that decided last stands first."""
        names = dict.fromkeys(name for run in self.runs for name in run.metrics)
        decides = next((run.decides for run in reversed(self.runs) if run.decides in names), "")
        return sorted(names, key=lambda name: name != decides)

    @cached_property
    def differing(self) -> list[str]:
        """The settings that are not the same in all runs."""
        names = dict.fromkeys(name for run in self.runs for name in run.parameters)
        return [
            name for name in names if len({repr(run.parameters.get(name)) for run in self.runs}) > 1
        ]

    @cached_property
    def best(self) -> dict[str, float]:
        """The best value of each metric."""
        found = {}
        for name in self.metrics:
            values = [run.metrics[name] for run in self.runs if name in run.metrics]
            found[name] = min(values) if history.lower_is_better(name) else max(values)
        return found

    def winner(self, metric: str) -> str:
        """The first run that reached the best value of a metric."""
        return next(run.run_id for run in self.runs if run.metrics.get(metric) == self.best[metric])

    def ordered(self, by: str) -> list[Run]:
        """The runs in the order of a metric (the best first), a setting or a column.

        Raises:
            ProjectError: there is no such thing to sort by.
        """
        newest = self.runs[::-1]
        if by in ("", "run", "when"):
            return newest
        parameters = dict.fromkeys(name for run in self.runs for name in run.parameters)
        if by in self.metrics:
            sign = 1 if history.lower_is_better(by) else -1
            return sorted(newest, key=lambda run: sign * run.metrics.get(by, sign * math.inf))
        if by in parameters:
            return sorted(newest, key=lambda run: _rank(run.parameters.get(by)))
        if by in COLUMNS:
            return sorted(newest, key=lambda run: _rank(_column(run, by)))
        names = ", ".join([*self.metrics, *COLUMNS, *self.differing])
        raise ProjectError(f"there is nothing called {by!r} to sort by: SORT is one of {names}")

    def as_json(self, pipeline: str, sort: str) -> dict[str, Any]:
        """All of it, for machines."""
        return {
            "pipeline": pipeline,
            "metrics": {
                name: {
                    "best": value,
                    "run_id": self.winner(name),
                    "lower_is_better": history.lower_is_better(name),
                }
                for name, value in self.best.items()
            },
            "differing": self.differing,
            "runs": [vars(run) for run in self.ordered(sort)],
            "skipped": self.skipped,
        }


def records(environment: str, source: str) -> Records:
    """The records of this machine's runs, or of all that MLflow knows, the oldest first.

    Raises:
        ProjectError: the project does not use MLflow, or the source is another word.
    """
    if source == LOCAL:
        for folder in history.folders(environment):
            yield folder.name, partial(read_json, folder / history.RECORD)
    elif source == "mlflow" and TRACKING.exists():
        yield from importlib.import_module("tools.tracking").records()
    elif source == "mlflow":
        raise ProjectError("this project does not use MLflow: choose it in `kubeflow_components`")
    else:
        raise ProjectError(f"there is no source {source!r}: SOURCE is local or mlflow")


def read_json(path: Path) -> Mapping[str, Any]:
    """A run's record as it stands."""
    content: Mapping[str, Any] = json.loads(path.read_bytes())
    return content


def read(records: Records, pipeline: str) -> tuple[list[Run], dict[str, str]]:
    """The runs of a pipeline, the oldest first, and why others cannot be read.

    Plain JSON, and no more of it than is shown: so that hundreds take no time, and a record of
    another release is read as far as it goes.
    """
    runs, skipped = [], {}
    for name, load in records:
        try:
            record = load()
            if record["pipeline"] == pipeline:
                runs.append(_run(record))
        except FileNotFoundError:
            skipped[name] = "it left no record: it is running, or was killed"
        except (OSError, ValueError) as error:
            skipped[name] = f"its {history.RECORD} cannot be read: {error}"
        except (AttributeError, KeyError, TypeError) as error:
            skipped[name] = f"its {history.RECORD} is not a record of a run: {error}"
    return runs, skipped


def _run(record: Mapping[str, Any]) -> Run:
    lineage = record.get("lineage") or {}
    settings = lineage.get("settings") or {}
    registered = record.get("steps", {}).get("register") or {}
    metrics = {
        name: float(value)
        for name, value in (record.get("metrics") or {}).items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
    started = datetime.fromisoformat(record["started_at"])
    return Run(
        run_id=str(record["run_id"]),
        state=str(record["state"]),
        started_at=started.isoformat(),
        seconds=float(record.get("seconds") or 0),
        data_version=str(record.get("data_version") or ""),
        commit=lineage.get("git_commit") or "",
        dirty=bool(lineage.get("git_dirty")),
        model=str(registered.get("parameters", {}).get("Output") or ""),
        metrics=metrics,
        parameters={
            f"{step}.{name}": value
            for step, values in settings.items()
            for name, value in values.items()
        },
        decides=history.deciding_metric(settings),
    )


def show(comparison: Comparison, sort: str, most: int) -> None:
    """The table on the screen: as many columns as fit, the rest is on the page."""
    ordered = comparison.ordered(sort)[:most]
    metrics, differing = comparison.metrics, comparison.differing
    starred = sort if sort in metrics else next(iter(metrics), "")
    winner = comparison.winner(starred) if starred else ""
    names = ["run", "when", "state", *metrics, *differing, "data", "commit", "seconds"]
    # What is left out first, when the screen is narrow.
    spare = ["seconds", "commit", "data", *reversed(differing), *reversed(metrics[1:]), "state"]
    if not screen.console.is_terminal:
        screen.console.width = sum(map(len, names)) + 40 * len(names)

    def table() -> Table:
        made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        for name in names:
            right = name in metrics or name in differing or name == "seconds"
            made.add_column(name, justify="right" if right else "left", no_wrap=True)
        for run in ordered:
            star = "[bold green]★[/] " if run.run_id == winner else ""
            cells = {name: screen.escape(_text(run, name)) for name in names}
            cells["run"] = star + cells["run"]
            cells["state"] = f"[{ENDINGS.get(run.state, 'dim')}]{screen.escape(run.state)}[/]"
            for name in metrics:
                if name in run.metrics and run.metrics[name] == comparison.best[name]:
                    cells[name] = f"[bold green]{cells[name]}[/]"
            made.add_row(*(cells[name] for name in names))
        return made

    made, left_out = table(), []
    while screen.console.measure(made).maximum > screen.console.width and spare:
        left_out.append(spare.pop(0))
        names.remove(left_out[-1])
        made = table()
    screen.console.print(made)
    if starred:
        screen.console.print(f"[bold green]★[/] the best {starred}", style="dim")
    if "commit" in names and any(run.dirty for run in ordered):
        screen.console.print("* with something not committed", style="dim")
    hidden = len(comparison.runs) - len(ordered)
    if hidden:
        screen.console.print(f"{hidden} more: LAST={len(comparison.runs)} shows all", style="dim")
    if left_out:
        listed = ", ".join(map(screen.escape, left_out))
        screen.console.print(f"too wide for this screen: {listed}", style="dim", soft_wrap=True)


def write(comparison: Comparison, pipeline: str, path: Path) -> None:
    """The page: every run and column, sortable, and each metric over the runs."""
    from tools import charts, pages

    pictures = {
        name: charts.history(
            [run.metrics.get(name, math.nan) for run in comparison.runs],
            lower=history.lower_is_better(name),
        )
        for name in comparison.metrics[:MOST_CHARTS]
    }
    names = comparison.metrics
    pages.write(
        path,
        "compare.html.j2",
        project=project().name,
        pipeline=pipeline,
        comparison=comparison,
        runs=comparison.ordered(""),
        metrics=names,
        lower={name: history.lower_is_better(name) for name in names},
        best=comparison.best,
        winner=comparison.winner(names[0]) if names else "",
        pictures=pictures,
        reports={run.run_id for run in comparison.runs if _has_page(path, run.run_id)},
        short=SHORT,
    )


def _has_page(path: Path, run_id: str) -> bool:
    return (path.parent / "runs" / run_id / "report.html").exists()


def _text(run: Run, name: str) -> str:
    """What a cell of the table on the screen says."""
    if name in run.metrics:
        value = run.metrics[name]
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4f}"
    if name == "seconds":
        return f"{run.seconds:.1f}"
    if name in COLUMNS:
        return str(_column(run, name))
    return _plain(run.parameters.get(name))


def _column(run: Run, name: str) -> Any:
    """A column that every run has."""
    return {
        "run": run.run_id,
        "when": ago(run.started_at),
        "state": run.state,
        "seconds": run.seconds,
        "data": run.data_version,
        "commit": f"{run.commit[:7]}{'*' if run.dirty else ''}",
    }[name]


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)


def _rank(value: Any) -> tuple[int, float, str]:
    """A place for values of any type: numbers, then words, then what is missing."""
    if value is None or value == "":
        return 2, 0, ""
    if isinstance(value, int | float):
        return 0, value, ""
    return 1, 0, _plain(value)


def ago(started_at: str) -> str:
    """How long ago a run began."""
    started = datetime.fromisoformat(started_at)
    started = started if started.tzinfo else started.replace(tzinfo=UTC)
    seconds = (datetime.now(UTC) - started).total_seconds()
    steps: Sequence[tuple[float, str]] = ((86400, "d"), (3600, "h"), (60, "min"))
    for size, unit in steps:
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return "just now"


if __name__ == "__main__":
    screen.start(compare)
