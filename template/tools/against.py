"""`make compare BASE=main`: the newest run beside what another commit makes of the same data.

That commit's pipeline is run too, here and with its own packages, so that both have read the same
data on the same machine. The exit code is not 0 when the metric that decides about a candidate has
fallen by more than `WITHIN`, a share of what it was, and no commit since says why in a line

    Accept-metrics: why

at its end. artifacts/against.md has the table, for a pull request.
"""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from runtime.errors import ProjectError
from tools import base, history, screen
from tools.commit import commit
from tools.compare import Run, read, read_json
from tools.project import ROOT, project
from tools.template import git

PAGE = ROOT / "artifacts" / "against.md"
TRAILER = "Accept-metrics"


@dataclass(frozen=True)
class Change:
    """A metric, there and here."""

    name: str
    before: float | None
    after: float | None

    @property
    def loss(self) -> float:
        """By how much it is worse than it was, as a share of that; 0 when it is not."""
        if self.before is None or self.after is None:
            return 0.0
        worse = (self.before - self.after) * (-1 if history.lower_is_better(self.name) else 1)
        return max(worse, 0.0) / max(abs(self.before), 1e-12)

    def cells(self) -> list[str]:
        """Name, before, after and the difference, as a table has them."""
        shown = ["-" if value is None else f"{value:.4f}" for value in (self.before, self.after)]
        if self.before is None or self.after is None:
            return [self.name, *shown, ""]
        return [self.name, *shown, f"{self.after - self.before:+.4f}"]


@dataclass(frozen=True)
class Judgement:
    """What is said of the metrics."""

    good: bool
    sentence: str


def against(
    name: Annotated[str, typer.Option("--base", help="A branch, tag or commit.")],
    pipeline: Annotated[str, typer.Option(help="Whose runs.")] = "training",
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    within: Annotated[float, typer.Option(min=0, max=1, help="A fall that is none.")] = 0.01,
) -> None:
    """Compare the newest run with a run of another commit."""
    there = base.resolve(name)
    # HEAD^1 says nothing to who reads the page later.
    name = name if re.fullmatch(r"[\w./-]+", name) else there[:12]
    here = newest(history.artifacts(env), pipeline, commit().hash)
    if here is None:
        project().require_pipeline(pipeline)
        raise ProjectError(history.none_yet(env, pipeline))
    if here.state != "succeeded":
        raise ProjectError(f"the run {here.run_id} {here.state}: `make run` goes on with it")
    if here.commit != commit().hash:
        screen.warn(f"{here.run_id} is not a run of what is here now: `make run` makes one")
    with screen.console.status(f"Running {pipeline} as {name} has it"):
        folder, succeeded = base.run(there, pipeline, env)
    root = folder / project(folder).environment(env).artifact_root
    before = newest(root, pipeline, there) if succeeded else None
    if before is None:
        log = base.FOLDER.with_suffix(".log").relative_to(ROOT)
        unknown = f"{name} cannot be run here, so there is nothing to compare with: {log} says why"
        write([], Judgement(True, unknown))
        screen.warn(unknown)
        return
    names = dict.fromkeys([here.decides, *here.metrics, *before.metrics])
    changes = [Change(key, before.metrics.get(key), here.metrics.get(key)) for key in names if key]
    found = judge(changes, here.decides, name, within, accepted(there))
    if before.data_version != here.data_version:
        screen.warn(f"{name} reads other data, by its settings: its metrics are of those")
    screen.console.print(table(changes, name))
    write(changes, found, name)
    if not found.good:
        screen.fail(found.sentence)
    screen.what_next(found.sentence)


def newest(root: Path, pipeline: str, of: str) -> Run | None:
    """The newest run of a pipeline in a folder: of a commit, or of any if it has none."""
    folders = sorted(path for path in root.glob("runs/*") if (path / history.RECORD).exists())
    runs, _ = read(
        ((path.name, partial(read_json, path / history.RECORD)) for path in folders), pipeline
    )
    return next((run for run in reversed(runs) if run.commit == of), runs[-1] if runs else None)


def accepted(since: str) -> str:
    """Why a fall is meant, as a commit since then says; empty if none does."""
    form = f"--format=%(trailers:key={TRAILER},valueonly,separator=%x20)"
    return " ".join(git("log", form, f"{since}..HEAD").split())


def judge(changes: list[Change], decides: str, name: str, within: float, why: str) -> Judgement:
    """Whether the metric that decides is as good as it was."""
    change = next((each for each in changes if each.name == decides), None)
    if change is None or change.before is None:
        return Judgement(True, f"No metric decides both here and in {name}.")
    if change.after is None:
        return Judgement(False, f"{decides} decides about a candidate, and the run has none")
    moved = f"from {change.before:.4f} in {name} to {change.after:.4f}"
    if change.loss <= within:
        return Judgement(True, f"{decides} has not fallen by more than {within:.1%}: {moved}.")
    if why:
        return Judgement(True, f"{decides} has gone {moved}, which is accepted: {why}")
    return Judgement(
        False,
        f"{decides} is worse by {change.loss:.1%}: {moved}. Mend it; or say why that is right, in "
        f"a last line of a commit: `{TRAILER}: because …`",
    )


def table(changes: list[Change], name: str) -> Table:
    """A row per metric, the one that decides first."""
    made = Table("metric", box=None, pad_edge=False, header_style="dim")
    for heading in (name, "here", "change"):
        made.add_column(heading, justify="right")
    for change in changes:
        made.add_row(*change.cells(), style="yellow" if change.loss else "")
    return made


def write(changes: list[Change], found: Judgement, name: str = "") -> None:
    """The same as Markdown, with what is to be said of it."""
    lines = [f"{'✓' if found.good else '✗'} {found.sentence}", ""]
    if changes:
        lines += [f"| metric | {name} | here | change |", "|---|---:|---:|---:|"]
        lines += [f"| {' | '.join(change.cells())} |" for change in changes]
    PAGE.write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    screen.start(against)
