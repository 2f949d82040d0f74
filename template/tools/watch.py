"""Follow a run on a cluster: the state of each step as it changes, and the record of how it ended.

KFP's API tells the state and times of each task, and nothing of what it wrote: metrics are read
from the files below `artifact_root`, where this machine can read them.
"""

import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any

import fsspec
from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec
from rich.live import Live

from runtime.records import Artifact, Lineage, RunRecord, RunState, StepRecord
from tools import conclusion, history, outputs, progress, registry, retrained, screen, submit
from tools.cluster import Cluster
from tools.connection import ClusterError
from tools.progress import Step
from tools.project import ROOT

SECONDS = 2
"""Between two looks."""
ENDS: Mapping[str, RunState] = {
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "CANCELED": "interrupted",
    "SKIPPED": "interrupted",
}
FIRST_YEAR = 1970
METRICS = "system.Metrics"


def run_there(pipeline: str, env: str) -> None:
    """`make run RUNNER=cluster`: start a run and follow it to its end."""
    cluster, started, lineage = submit.start(pipeline, env)
    watch(cluster, started, lineage)


def watch(cluster: Cluster, found: Any, lineage: Lineage | None = None) -> None:
    """Show a run until it ends, record it, and leave with an exit code that says how it ended."""
    try:
        steps = progress.steps_of(_spec(cluster, found))
        found = _followed(cluster, found, steps)
    except (KeyboardInterrupt, ClusterError):
        name = found.display_name
        screen.what_next(
            "The run goes on on the cluster.",
            f"`make runs ENV={cluster.env} RUN={name}` follows it again.",
            f"`make runs ENV={cluster.env} STOP={name}` ends it.",
        )
        raise
    lineage = lineage or _lineage(found)
    record = _recorded(cluster, found, steps, lineage) if lineage else None
    _conclude(cluster, found, steps, record)
    if record:
        retrained.release(record)


def _followed(cluster: Cluster, found: Any, steps: list[Step]) -> Any:
    """The run once it is over; `steps` are kept up to date."""
    terminal = screen.console.is_terminal
    live = Live(console=screen.console, get_renderable=lambda: progress.table(steps))
    with live if terminal else contextlib.nullcontext():
        while True:
            found = cluster.run(found.run_id)
            before = [step.state for step in steps]
            update(steps, found)
            for step, state in zip(steps, before, strict=True):
                if not terminal and step.state != state:
                    screen.console.print(progress.line(step, step.state))
            if found.state in ENDS:
                return found
            time.sleep(SECONDS)


def update(steps: list[Step], found: Any) -> None:
    """Set each step's state and time to what KFP says of the run."""
    tasks: dict[str, list[Any]] = {}
    for task in (found.run_details and found.run_details.task_details) or []:
        tasks.setdefault(task.display_name, []).append(task)
    # What each task's container is called; which one is whose is not told.
    spared = any(task.state == "SKIPPED" for task in tasks.get("executor", []))
    for step in steps:
        step.state, step.seconds = _state(step, tasks, spared, found.state), 0.0
        own = [task for task in tasks.get(step.name, []) if _known(task.start_time)]
        if own and step.state not in ("waiting", "skipped"):
            start = min(task.start_time for task in own)
            ends = [task.end_time if _known(task.end_time) else _now(start) for task in own]
            step.seconds = (max(ends) - start).total_seconds()
            step.started = time.perf_counter() - step.seconds


def _known(moment: Any) -> bool:
    """Whether it is a time; for what has not been yet, KFP says the first second of 1970."""
    return moment is not None and moment.year > FIRST_YEAR


def _now(start: Any) -> Any:
    """Now, by the clock that a time of KFP is of."""
    return type(start).now(start.tzinfo)


def _state(step: Step, tasks: Mapping[str, list[Any]], spared: bool, run_state: str) -> str:
    # In a loop a step is many tasks.
    own = tasks.get(step.name, [])
    states = {task.state for task in own + tasks.get(f"{step.name}-driver", [])}
    around = {task.state for name in step.parents for task in tasks.get(name, [])}
    if "FAILED" in states:
        return "failed"
    if "RUNNING" in states:
        return "running" if run_state not in ENDS else "not reached"
    if own and all(task.state == "SUCCEEDED" for task in own):
        at_once = all(task.start_time == task.end_time for task in own)
        return "cached" if spared and at_once else "ran"
    if "SKIPPED" in states | around or run_state == "SUCCEEDED":
        return "skipped"
    return "not reached" if run_state in ENDS else "waiting"


def _spec(cluster: Cluster, found: Any) -> Any:
    content = found.pipeline_spec or cluster.spec(found.pipeline_version_reference)
    # With anything of Kubernetes in it, KFP keeps it in two parts.
    return json_format.ParseDict(content.get("pipeline_spec", content), PipelineSpec())


def _arguments(found: Any) -> Mapping[str, str]:
    return (found.runtime_config and found.runtime_config.parameters) or {}


def _lineage(found: Any) -> Lineage | None:
    text = _arguments(found).get("lineage")
    return Lineage.from_json(text) if text else None


def _recorded(cluster: Cluster, found: Any, steps: list[Step], lineage: Lineage) -> RunRecord:
    """The record of a run that is over, as far as it can be known from here."""
    ended = found.finished_at or _now(found.created_at)
    records = {
        step.name: StepRecord(
            state=step.state,  # type: ignore[arg-type] # a finished step has one of the states
            seconds=round(step.seconds, 3),
            image=lineage.images.get(step.component.replace("-", "_")),
            log=None,
            after=list(step.after),
            within=list(step.within),
            parameters=_registered(cluster, found, lineage) if step.name == "register" else {},
            artifacts=_metrics(cluster, found, step),
        )
        for step in steps
    }
    arguments = _arguments(found)
    return RunRecord(
        run_id=f"{found.created_at:%Y%m%d-%H%M%S}-{found.run_id[:8]}",
        pipeline=lineage.pipeline,
        runner="cluster",
        environment=cluster.env,
        state=ENDS[found.state],
        started_at=found.created_at.isoformat(timespec="seconds"),
        seconds=(ended - found.created_at).total_seconds(),
        data_version=arguments.get("data_version", ""),
        champion=arguments.get("champion", ""),
        metrics=outputs.metrics(records),
        lineage=lineage,
        steps=records,
    )


def _metrics(cluster: Cluster, found: Any, step: Step) -> dict[str, Artifact]:
    """The metrics that a step wrote; none where this machine cannot read what runs write."""
    root = cluster.environment.artifact_root
    if not root or step.state != "ran":
        return {}
    artifacts = {}
    for name, artifact in step.spec.output_definitions.artifacts.items():
        if artifact.artifact_type.schema_title != METRICS:
            continue
        # KFP puts a folder of its own between a task's name and what it wrote.
        written = f"{root.rstrip('/')}/*/{found.run_id}/{step.name}/*/{name}"
        with contextlib.suppress(Exception):
            (file,) = fsspec.open_files(written, "rb")
            with file as stream:
                content = json.load(stream)
            scores = content.get("candidate", content)
            artifacts[name] = Artifact(type=METRICS, uri=str(file.path), metadata=scores)
    return artifacts


def _registered(cluster: Cluster, found: Any, lineage: Lineage) -> dict[str, Any]:
    """The model that a run registered, as `register` returns it; nothing when it cannot be seen."""
    store = cluster.environment.model_store
    if "://" in store:
        with contextlib.suppress(Exception):
            for model in reversed(registry.opened(store).records()):
                since = found.created_at.isoformat(timespec="seconds")
                if model.lineage == lineage and model.registered_at >= since:
                    return {"Output": model.model_id}
    return {}


def _conclude(cluster: Cluster, found: Any, steps: list[Step], record: RunRecord | None) -> None:
    lines = {}
    if record:
        path = history.artifacts(cluster.env) / "runs" / record.run_id / history.RECORD
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record.model_dump_json(indent=2) + "\n")
        lines["record"] = str(path.relative_to(ROOT))
        if record.metrics:
            screen.console.print(conclusion.metrics_table(record))
    lines["page"] = cluster.page(found.run_id)
    for what, value in lines.items():
        screen.console.print(f"{what:<9} {screen.escape(value)}", soft_wrap=True)
    if found.state == "SUCCEEDED":
        model = record and record.steps.get("register")
        if model and model.parameters:
            screen.what_next(f"Model {model.parameters['Output']} is registered.")
        screen.what_next(f"`make compare ENV={cluster.env}` shows it beside the other runs.")
        return
    broken = ", ".join(step.name for step in steps if step.state == "failed")
    if found.state == "FAILED":
        why = f": {found.error.message}" if found.error and found.error.message else ""
        pods = f"-l pipeline/runid={found.run_id} -c main"
        log = f"{cluster.connection.kubectl} logs {pods} --prefix --tail=50"
        screen.fail(f"{broken or 'the run'} failed on the cluster{why}\n  its log: `{log}`")
    screen.fail(f"the run was ended on the cluster before it was done ({found.state.lower()})")
