"""How a run ended: the metrics, the pages, the reason of a failure, and what to do next."""

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from runtime.errors import ProjectError
from runtime.records import RunRecord, StepRecord
from tools import history, registry, screen
from tools.project import ROOT

if TYPE_CHECKING:
    from tools.progress import Step

LOG_LINES_SHOWN = 12
PAGES = {"system.HTML": ".html", "system.Markdown": ".md"}
# In a step's log, before what did not come from the step, but from what ran it.
NOT_ITS_OWN = "✗ "
FOR_PEOPLE = "runtime.errors.ProjectError: "
# Of a traceback, and of the project's own files only: here, and in a step's image.
FRAME = re.compile(
    rf'^  File "(?:{re.escape(str(ROOT))}|/app)/(?P<file>(?:src|steps|runtime)/[^"]+)", '
    r"line (?P<line>\d+)(?:, in (?P<function>\S+))?$",
    re.MULTILINE,
)
# What brings a change of the code into a run.
AGAIN = {"local": "make run", "docker": "make images run RUNNER=docker"}


def conclude(record: RunRecord, failed: "Step | None", path: Path) -> None:
    """Say how it ended and what comes next, and leave with an exit code that says the same."""
    shown = path.relative_to(ROOT)
    if record.state == "interrupted":
        verb = AGAIN[record.runner].replace("images ", "")
        screen.what_next(f"Stopped. `{verb}` goes on from the last finished step.")
        raise KeyboardInterrupt
    if failed:
        log = failed.log.relative_to(ROOT) if failed.log else shown
        reason = own_error(failed.log.read_text()) if failed.log else "it did not start"
        screen.fail(f"{failed.name} failed: {reason}\n  its log: {log}")
    if record.metrics:
        screen.console.print(metrics_table(record))
    for page in pages(record, path.parent):
        screen.console.print(f"{page.stem:<16} {page.relative_to(ROOT)}", soft_wrap=True)
    screen.console.print(f"{'record':<16} {shown}", soft_wrap=True)
    screen.what_next(outcome(record))


def pages(record: RunRecord, folder: Path) -> list[Path]:
    """The HTML and Markdown that the steps wrote, copied under names with an extension."""
    made = []
    for name, step in record.steps.items():
        for artifact_name, artifact in step.artifacts.items():
            suffix = PAGES.get(artifact.type)
            if suffix:
                made.append(folder / f"{name}-{artifact_name}{suffix}")
                shutil.copyfile(artifact.uri, made[-1])
    return made


def outcome(record: RunRecord) -> str:
    """What became of the candidate, and what to do now."""
    predicted = record.steps.get("predict")
    if predicted:
        folder = str(predicted.parameters["Output"]).rpartition("/")[0]
        return f"The predictions are in {folder}, a file per partition."
    again = AGAIN[record.runner]
    watched = record.steps.get("monitor")
    if watched and watched.parameters.get("Output") == "keep":
        return f"The model is kept: {reason(watched)}."
    registered = record.steps.get("register")
    if registered is None:
        return f"Change something and `{again}` again: only what it touches is run."
    if registered.state == "skipped" and watched:
        return (
            f"Trained again, as {reason(watched)}; the champion stays: "
            f"{reason(record.steps['evaluate'])}."
        )
    if registered.state == "skipped":
        return f"Not registered. Change config/project.yaml or src/ and `{again}` again."
    model = registered.parameters["Output"]
    kept = registry.store(record.environment).find(model)
    if kept is None:
        raise ProjectError(
            f"model {model} is not in the model store any more: `make clean run` registers it again"
        )
    if watched:
        return (
            f"Model {model} is registered: trained again, as {reason(watched)}. "
            f"`make release ENV={record.environment} RUN={model}` releases it."
        )
    what = "is registered" if kept.registered_at >= record.started_at else "is already registered"
    return f"Model {model} {what}. Change config/project.yaml or src/ and `{again}` again."


def reason(step: StepRecord) -> str:
    """Why a step decided as it did, by what it wrote down."""
    wrote = step.artifacts.get("findings") or step.artifacts.get("metrics")
    path = Path(wrote.uri) if wrote else None
    if path is None or not path.exists():
        return "its page says why"
    text: str = json.loads(path.read_text()).get("reason", "its page says why")
    return text


def metrics_table(record: RunRecord) -> Table:
    """A row per metric, the deciding one first."""
    decides = history.deciding_metric(record.lineage.settings)
    table = Table("metric", box=None, pad_edge=False, header_style="dim")
    table.add_column("value", justify="right")
    for name, value in sorted(record.metrics.items(), key=lambda metric: metric[0] != decides):
        table.add_row(name, f"{value:.4f}")
    return table


def own_error(log: str) -> str:
    """The error that a step raised, with its place in the project; or why it was ended.

    A `ProjectError` is a sentence for people, so its name and its place are left out.
    """
    last = log.rstrip().rpartition("\n")[2]
    if last.startswith(NOT_ITS_OWN):
        return last.removeprefix(NOT_ITS_OWN)
    _, traceback, tail = log.rpartition("Traceback (most recent call last):")
    lines = tail.splitlines() if traceback else log.splitlines()[-LOG_LINES_SHOWN:]
    if traceback:
        start = next((i for i, line in enumerate(lines) if re.match(r"\w", line)), 0)
        lines = lines[start:]
    text = "\n".join(lines).strip() or "it printed nothing"
    if text.startswith(FOR_PEOPLE):
        return text.removeprefix(FOR_PEOPLE)
    return text + place(tail if traceback else "")


def place(frames: str) -> str:
    """The last of a traceback's frames that is the project's, in brackets; empty without one."""
    own = list(FRAME.finditer(frames))
    if not own:
        return ""
    file, line, function = own[-1].groups()
    return f" ({file} line {line}{f', in {function}' if function else ''})"
