"""`make drift-demo`: what happens when the world changes, on this machine, told step by step.

A model is trained on the project's own data, released and served. Then every other instrument reads
higher than it did: the data drift, an alarm is raised, the model is trained again, and the champion
is replaced, or kept with the reason. All of it in a copy of the project, by the verbs that a team
uses, and told from the records that these leave.
"""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from runtime import datasets, validation
from runtime.errors import ProjectError
from runtime.records import RunRecord, StepRecord
from runtime.store import model_id
from tools import conclusion, history, pages, predict, profiles, registry, scratch, screen
from tools.predict import Protocol, Server
from tools.project import ROOT, project
from tools.scratch import ENV

FOLDER = "artifacts/drift-demo"
RECORD, PAGE, LOG = "demo.json", "demo.html", "demo.log"
MOST_ROWS = 20_000
"""Of the project's data: a demonstration does not need more."""
REQUESTS, ROWS_EACH = 25, 20
SHIFT = 3.0
"""By how many standard deviations the instruments read higher, in every other row."""
MOST_SHIFTED = 5
KEEP_SCHEMA = 0.9
"""The share of rows that must keep the schema, or a column is not shifted."""
SEED = 7
TAKEN = re.compile(r"^payload_events_total\{.*\} (\S+)$", re.MULTILINE)
PAYLOADS, LABELS = "artifacts/payloads", "data/labels.parquet"
BEFORE, AFTER = "data/before.parquet", "data/after.parquet"


@dataclass(frozen=True)
class Act:
    """Something that happened."""

    title: str
    told: str
    seconds: float


@dataclass
class Story:
    """The demonstration's own record: what was found, decided, released."""

    project: str
    first: str = ""
    """The model that was trained first."""
    shifted: list[str] = field(default_factory=list)
    """The columns whose instruments read higher."""
    acts: list[Act] = field(default_factory=list)
    runs: dict[str, str] = field(default_factory=dict)
    """The run of each look, `steady` and `shifted`, and of the first training."""
    champions: list[str] = field(default_factory=list)
    """What was released, one after the other."""
    decision: str = ""
    """`register` or `keep`: what became of the model that was trained again."""


def drift_demo(
    inside: Annotated[bool, typer.Option("--inside", hidden=True)] = False,
) -> None:
    """Show the whole loop: serve, drift, alarm, retrain, release, roll back."""
    if inside:
        tell()
        return
    folder = scratch.copy(ROOT / FOLDER)
    settings: Any = project().settings("ingest")
    with screen.console.status("Reading the project's data"):
        rows = (
            project()
            .science("data")
            .read(settings.source, settings.query, max_bytes=settings.max_size)
        )
    if len(rows) > MOST_ROWS:
        rows = rows.sample(MOST_ROWS, random_state=SEED)
    prepare(folder, rows)
    if scratch.run(folder, "tools.drift_demo", "--inside").returncode:
        sys.exit(1)


def prepare(folder: Path, rows: pd.DataFrame) -> None:
    """Have the copy train on these rows, and log all that its model is asked."""
    (folder / BEFORE).parent.mkdir(parents=True, exist_ok=True)
    rows.reset_index(drop=True).to_parquet(folder / BEFORE)
    # What the team's `read` makes of the data it has made already: it is not done twice.
    with (folder / f"src/{project().package}/data.py").open("a", encoding="utf-8") as data:
        data.write("\n\nfrom runtime.sources import read\n")
    columns = [*project().science("schema").INPUT.columns]
    scratch.write(folder / "config/payloads.yaml", {"sampling": 1.0, "columns": columns})
    scratch.change(
        folder / "config/project.yaml",
        {
            "ingest": {"source": BEFORE, "query": None, "version": None},
            "monitor": {"source": f"payloads:{PAYLOADS}", "labels": LABELS, "pushgateway": ""},
        },
    )


def tell() -> None:
    """Run it, in the copy, and show what happens as it happens."""
    story = Story(project().name)
    act(story, "train", "a first model, on the project's own data", train)
    act(story, "release", "of what was trained", lambda story: release(story, story.first))
    rows, importance = judged(story.first)
    with serving() as (server, log):
        act(story, "traffic", "rows like those of then", lambda _: ask(server, log, rows, "steady"))
        act(story, "look", "recent rows beside those of then", lambda story: look(story, "steady"))
        moved, story.shifted = shifted(rows, importance)
        act(story, "shift", "of the traffic", lambda _: ask(server, log, moved, "shifted"))
    change_source(importance)
    act(story, "alarm", "and what comes of it", lambda story: look(story, "shifted"))
    again = record(story.runs["shifted"])
    model = registry.registered_by(again)
    story.decision = "register" if model else "keep"
    if model:
        act(story, "release", "of the better one", lambda story: release(story, model))
        act(story, "roll back", "to the one before", lambda story: release(story, story.first))
    finish(story)


def act(story: Story, title: str, about: str, do: Callable[[Story], str]) -> None:
    """Do something, and say what came of it."""
    started = time.perf_counter()
    with screen.console.status(f"{title}: {about}"):
        told = do(story)
    seconds = time.perf_counter() - started
    story.acts.append(Act(title, told, round(seconds, 1)))
    screen.console.print(
        f"[bold]{title:<10}[/] [dim]{seconds:>5.1f} s[/]  {screen.escape(told)}", soft_wrap=True
    )


def train(story: Story) -> str:
    """Train a first model."""
    story.runs["train"] = verb("tools.run", "--env", ENV)
    trained = record(story.runs["train"])
    story.first = registry.registered_by(trained)
    if not story.first:
        why = conclusion.reason(trained.steps["evaluate"])
        raise ProjectError(f"there is no first model to begin with, as {why}: see `evaluate`")
    metric = history.deciding_metric(trained.lineage.settings)
    return f"model {story.first}, {metric} {trained.metrics[metric]:.4f} on rows held out"


def release(story: Story, model: str) -> str:
    """Release a model, and say which one is released now."""
    before = story.champions[-1:]
    verb("tools.release", "--env", ENV, "--run", model)
    story.champions.append(model_id(registry.store(ENV).champion()))
    instead = f", instead of {before[0]}" if before else ""
    return f"model {story.champions[-1]} is the champion{instead}"


def judged(model: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows that a model was judged on, and its features, the most important first."""
    found = registry.named(ENV, model)
    rows, _ = profiles.held_out(ENV, found)
    step = record(registry.run_of([ENV], model)).steps["evaluate"]
    return rows.reset_index(drop=True), list(written(step, "metrics")["importance"])


@contextlib.contextmanager
def serving() -> Iterator[tuple[Server, int]]:
    """The model's server, and the port on which it expects the payload log."""
    port, log = predict.free_port(), predict.free_port()
    url = f"http://{predict.HOST}:{log}"
    arguments = ("--env", ENV, "--port", str(port), "--payloads", url)
    with predict.listening(scratch.command("tools.serve", *arguments), port) as server:
        yield server, log


def ask(server: Server, port: int, rows: pd.DataFrame, name: str) -> str:
    """Ask for rows drawn at random, have it logged, and tell later what was true."""
    schema = project().science("schema")
    drawn = rows.sample(REQUESTS * ROWS_EACH, replace=True, random_state=SEED)
    asked = datasets.sample(drawn[[*schema.INPUT.columns]], len(drawn))
    shutil.rmtree(ROOT / PAYLOADS, ignore_errors=True)
    with logging_at(port):
        for number in range(REQUESTS):
            part = asked[number * ROWS_EACH : (number + 1) * ROWS_EACH]
            server.ask(part, Protocol.v1, request_id=f"{name}-{number}")
        wait_for(2 * REQUESTS, port)
    labels = pd.DataFrame(
        {
            "request_id": np.repeat([f"{name}-{n}" for n in range(REQUESTS)], ROWS_EACH),
            "row": np.tile(np.arange(ROWS_EACH), REQUESTS),
            schema.TARGET: drawn[schema.TARGET].to_numpy(),
        }
    )
    labels.to_parquet(ROOT / LABELS)
    return f"{REQUESTS} requests of {ROWS_EACH} rows; what was true of them is known later"


@contextlib.contextmanager
def logging_at(port: int) -> Iterator[None]:
    """The payload log, which writes all that waits when this ends."""
    command = scratch.command("tools.payloads", "--port", str(port), "--store", PAYLOADS)
    running = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(0, port, running)
        yield
    finally:
        running.terminate()
        running.communicate()


def wait_for(events: int, port: int, running: "subprocess.Popen[str] | None" = None) -> None:
    """Wait until the payload log has taken so many events.

    Raises:
        ProjectError: it has not, in time.
    """
    deadline = time.monotonic() + predict.PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            connection = HTTPConnection(predict.HOST, port, timeout=predict.PATIENCE)
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
            if sum(map(float, TAKEN.findall(text))) >= events:
                return
        if running is not None and running.poll() is not None:
            raise ProjectError(predict.said_by(running))
        time.sleep(0.1)
    raise ProjectError(f"the payload log has not taken {events} events within {predict.PATIENCE} s")


def shifted(rows: pd.DataFrame, importance: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """The rows when every other instrument reads higher, and the columns in which they do.

    Rows that would break the schema by it are left out.

    Raises:
        ProjectError: no column can be shifted within the schema.
    """
    schema = project().science("schema")
    moved = rows.reset_index(drop=True)
    names: list[str] = []
    times = pd.Series(SHIFT * (moved.index % 2), index=moved.index)
    for name in importance:
        if len(names) == MOST_SHIFTED:
            break
        if not pd.api.types.is_float_dtype(rows[name]):
            continue
        higher = moved.assign(**{name: moved[name] + times * rows[name].std()})
        kept = kept_by(schema.INPUT, higher)
        if len(kept) >= KEEP_SCHEMA * len(moved):
            moved = kept
            names.append(name)
    if not names:
        raise ProjectError(
            "no column of numbers can be shifted within the ranges of schema.py, so there is "
            "nothing to show"
        )
    return moved, names


def kept_by(schema: Any, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that keep a schema."""
    broken = validation.violations(rows[[*schema.columns]], schema)
    return rows.drop(index=list({row for each in broken for row in each.rows}))


def change_source(importance: list[str]) -> None:
    """Have the pipeline train on rows of the changed world from now on."""
    moved, _ = shifted(pd.read_parquet(ROOT / BEFORE), importance)
    moved.reset_index(drop=True).to_parquet(ROOT / AFTER)
    scratch.change(ROOT / "config/project.yaml", {"ingest": {"source": AFTER}})


def look(story: Story, name: str) -> str:
    """Run the monitoring pipeline, and say what it found and did."""
    story.runs[name] = verb("tools.run", "--pipeline", "monitoring", "--env", ENV)
    done = record(story.runs[name])
    found = findings(done)
    told = f"{found['reason']}; {found['quality']['reason']}"
    if done.steps["monitor"].parameters["Output"] == "keep":
        return told
    return f"{told}. Trained again: {conclusion.reason(done.steps['evaluate'])}"


def verb(module: str, *arguments: str) -> str:
    """Run a verb, keep what it says in the log, and return the id of the newest run.

    Raises:
        ProjectError: it failed.
    """
    done = scratch.run(ROOT, module, *arguments, capture=True)
    with (ROOT / LOG).open("a") as log:
        log.write(f"$ {module} {' '.join(arguments)}\n{done.stdout}{done.stderr}\n")
    if done.returncode:
        said = done.stderr.strip().removeprefix("✗ ") or f"see {FOLDER}/{LOG}"
        raise ProjectError(f"{module.removeprefix('tools.')}: {said}")
    folders = history.folders(ENV)
    return folders[-1].name if folders else ""


def record(run: str) -> RunRecord:
    """The record of a run."""
    return RunRecord.from_json((history.find(ENV, run) / history.RECORD).read_text())


def findings(run: RunRecord) -> dict[str, Any]:
    """What the step `monitor` found in a run."""
    return written(run.steps["monitor"], "findings")


def written(step: StepRecord, name: str) -> dict[str, Any]:
    """The JSON of a step's artifact."""
    content: dict[str, Any] = json.loads(Path(step.artifacts[name].uri).read_text())
    return content


def finish(story: Story) -> None:
    """Keep the record, draw the page, and say where they are."""
    from runtime.monitoring import Findings
    from runtime.monitoring_page import picture
    from tools import charts

    (ROOT / RECORD).write_text(json.dumps(asdict(story), indent=2) + "\n")
    again = record(story.runs["shifted"])
    found = Findings.model_validate(findings(again))
    moved = [column for column in found.columns if column.name in story.shifted]
    metric = found.quality.metric
    values = {"when trained": found.quality.then.get(metric)}
    if again.steps["evaluate"].state != "skipped":
        judgement = written(again.steps["evaluate"], "metrics")
        values["champion now"] = (judgement["champion"] or {}).get(metric)
        values["trained again"] = judgement["candidate"][metric]
    known = {name: value for name, value in values.items() if value is not None}
    pages.write(
        ROOT / PAGE,
        "drift-demo.html.j2",
        story=story,
        found=found,
        metric=metric,
        quality=charts.dots(known),
        pictures=[(column, picture(column)) for column in moved],
    )
    for name, file in (("page", PAGE), ("record", RECORD), ("log", LOG)):
        screen.console.print(f"{name:<10} {FOLDER}/{file}", soft_wrap=True)
    screen.what_next(
        "Open the page in a browser. On your own model: `make run PIPELINE=monitoring`, and "
        "`make schedule` for a cluster; docs/monitoring.md."
    )


if __name__ == "__main__":
    screen.start(drift_demo)
