"""Watch a local KFP run: the state of each step as it changes, and a log file per step."""

import io
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kfp.local.graph_utils import topological_sort_tasks
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from tools.screen import console

STYLES = {
    "waiting": "dim",
    "running": "bold cyan",
    "ran": "green",
    "cached": "blue",
    "skipped": "dim",
    "failed": "bold red",
    "not reached": "dim",
}
# Written by kfp in front of every line of a step.
INDENT = " " * 4
# What kfp.local 2.17 says of a step; it has no other way to tell.
_STARTED = re.compile(r"Executing task .*'(?P<component>[^']+)'")
_FINISHED = re.compile(
    r"Task .*'(?P<component>[^']+)'.* finished with status .*(?P<state>SUCCESS|FAILURE)"
)
_CACHED = re.compile(r"Task (?P<task>\S+) cache hit \(key=(?P<key>[0-9a-f]+)\)")
_SKIPPED = re.compile(r"Skipping conditional task (?P<task>\S+)")
_RETRIED = re.compile(r"Task (?P<task>\S+) failed \(attempt ")


@dataclass
class Step:
    """One task of the pipeline while it runs; in a loop, all its iterations."""

    name: str
    component: str
    spec: Any
    parents: tuple[str, ...] = ()
    """The tasks of the conditions and loops around it, the outermost first."""
    within: tuple[str, ...] = ()
    """The same by the names that the pipeline gives them."""
    after: tuple[str, ...] = ()
    """The steps it waits for."""
    state: str = "waiting"
    running: int = 0
    """Iterations that run now."""
    done: int = 0
    seconds: float = 0.0
    started: float = 0.0
    log: Path | None = None
    cache_key: str | None = None


class Progress(logging.Filter, io.TextIOBase):
    """A live table of steps, fed by kfp's log records; takes the place of standard output.

    kfp removes the handlers of the root logger while it runs a step, but not its filters.
    """

    def __init__(self, pipeline_spec: Any, folder: Path) -> None:
        logging.Filter.__init__(self)
        self.steps = steps_of(pipeline_spec)
        self.folder = folder
        self._live = Live(
            console=console, get_renderable=lambda: table(self.steps), refresh_per_second=8
        )
        self._log: io.TextIOBase | None = None
        self._level = logging.WARNING
        self._stopped = False

    def __enter__(self) -> Self:
        root = logging.getLogger()
        self._level = root.level
        root.setLevel(logging.INFO)
        root.addFilter(self)
        if console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for step in self.steps:
            if step.state == "running":
                self._finish(step, "failed")
            elif step.state == "waiting":
                step.state = "not reached"
        if console.is_terminal:
            self._live.stop()
        root = logging.getLogger()
        root.setLevel(self._level)
        # A thread that kfp has lost sight of may want to begin the next step of a loop even now.
        if not self._stopped:
            root.removeFilter(self)

    def stop(self) -> None:
        """Let no step begin any more; kfp begins what is left of a loop before it gives up."""
        self._stopped = True

    @property
    def failed(self) -> Step | None:
        """The step that failed, or None."""
        return next((step for step in self.steps if step.state == "failed"), None)

    def filter(self, record: logging.LogRecord) -> bool:
        """Read an event from kfp's log, and show none of it."""
        message = record.getMessage()
        if match := _STARTED.search(message):
            if self._stopped:
                raise KeyboardInterrupt
            self._start(self._step(match["component"]))
        elif match := _FINISHED.search(message):
            state = "ran" if match["state"] == "SUCCESS" else "failed"
            self._finish(self._step(match["component"]), state)
        elif match := _CACHED.search(message):
            step = next(step for step in self.steps if step.name == match["task"])
            step.cache_key = match["key"]
            self._finish(step, "cached")
        elif match := _RETRIED.search(message):
            step = next(step for step in self.steps if step.name == match["task"])
            step.state = "running" if step.running else "waiting"
        elif match := _SKIPPED.search(message):
            # Two conditions may have one name, where one pipeline runs within another; of what has
            # run, neither is meant.
            for step in self.steps:
                if match["task"] in (step.name, *step.parents) and step.state == "waiting":
                    self._finish(step, "skipped")
        return False

    def write(self, text: str) -> int:
        """Standard output of the step that runs."""
        if self._log is not None and text != INDENT:
            self._log.write(text)
            self._log.flush()
        return len(text)

    def _step(self, component: str) -> Step:
        # A component used twice is the first of its tasks that is not done; in a loop, the same.
        known = [step for step in self.steps if step.component == component]
        unfinished = (step for step in known if step.state in ("waiting", "running"))
        return next(unfinished, known[-1])

    def _start(self, step: Step) -> None:
        if step.state != "failed":
            step.state = "running"
        step.running += 1
        step.started = step.started or time.perf_counter()
        step.log = self.folder / f"{step.name}.log"
        if self._log is None:
            self._log = step.log.open("a")

    def _finish(self, step: Step, state: str) -> None:
        if step.started:
            step.seconds = time.perf_counter() - step.started
        step.done += 1
        step.running = max(step.running - 1, 0)
        if "failed" in (state, step.state):
            step.state = "failed"
        elif not step.running:
            step.state = state
        if self._log is not None and not step.running:
            self._log.close()
            self._log = None
        if not console.is_terminal:
            console.print(line(step, state))


def table(steps: list[Step]) -> Table:
    """How far each step is."""
    made = Table("step", "state", box=None, pad_edge=False, header_style="dim")
    made.add_column("seconds", justify="right")
    for step in steps:
        style = STYLES[step.state]
        state = Spinner("dots", "running") if step.state == "running" else step.state
        made.add_row(step.name, state, _seconds(step), style=style)
    return made


def line(step: Step, state: str) -> str:
    """The same of one step, where nobody watches a table."""
    return f"{step.name:<20} {state:<12} {_seconds(step)}"


def steps_of(pipeline_spec: Any) -> list[Step]:
    """The steps of a pipeline, each after those that it waits for."""
    root = Step("", "", pipeline_spec.root)
    return _steps(pipeline_spec, pipeline_spec.root.dag.tasks, root)


def _seconds(step: Step) -> str:
    if step.state == "running":
        return f"{time.perf_counter() - step.started:.1f}"
    return f"{step.seconds:.1f}" if step.seconds else ""


def _steps(spec: Any, tasks: Any, around: Step) -> list[Step]:
    """The steps below some tasks; `around` stands for the condition or loop that holds them."""
    found: list[Step] = []
    for name in reversed(topological_sort_tasks(tasks)):
        task = tasks[name]
        component = spec.components[task.component_ref.name]
        awaited = set(task.dependent_tasks)
        waits = [step.name for step in found if awaited & {step.name, *step.parents}]
        step = Step(
            name,
            task.component_ref.name.removeprefix("comp-"),
            component,
            parents=around.parents,
            within=around.within,
            after=(*around.after, *waits),
        )
        if component.WhichOneof("implementation") == "dag":
            step.parents += (name,)
            step.within += (task.task_info.name,)
            found += _steps(spec, component.dag.tasks, step)
        else:
            found.append(step)
    return found
