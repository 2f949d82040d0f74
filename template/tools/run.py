"""`make run`: run a pipeline on this machine, and record what happened."""

import contextlib
import gc
import hashlib
import importlib
import re
import shutil
import subprocess
import time
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from runtime import sources
from runtime.errors import ProjectError
from runtime.records import Lineage, RunRecord, RunState
from runtime.settings import Settings
from runtime.store import ModelStore
from tools import images, screen
from tools.environment import Environment
from tools.execution import Execution, configured
from tools.imports import steps_of
from tools.project import ROOT, TRACKING, project

if TYPE_CHECKING:
    from tools.progress import Progress, Step

SETTINGS_SUFFIX = "_settings"
LOG_LINES_SHOWN = 12
PAGES = {"system.HTML": ".html", "system.Markdown": ".md"}


def run(
    pipeline: Annotated[str, typer.Option(help="A file of pipelines/, without .py.")] = "training",
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
) -> None:
    """Run a pipeline in processes of this machine; a step that has not changed is not run again."""
    # A short process, most of it imports, of which collecting garbage would be a tenth.
    gc.disable()
    refuse_path(ROOT)
    images.prefetch(steps_of(pipeline))
    from tools import outputs
    from tools.progress import Progress

    environment = project().environment(env)
    known = facts(pipeline, environment)
    definition = load(pipeline, environment)
    lineage = origin(pipeline)
    known["lineage"] = lineage.model_dump_json()
    arguments = select(definition, known)

    artifacts = ROOT / environment.artifact_root
    started, clock = datetime.now(UTC), time.perf_counter()
    run_id = f"{started:%Y%m%d-%H%M%S}-{started.microsecond // 1000:03d}"
    folder = artifacts / "runs" / run_id
    folder.mkdir(parents=True)
    progress = Progress(definition.pipeline_spec, folder)
    try:
        execute(definition, arguments, artifacts, progress)
        state: RunState = "failed" if progress.failed else "succeeded"
    except KeyboardInterrupt:
        state = "interrupted"
    steps = outputs.records(
        progress.steps,
        outputs.folder_since(artifacts / "outputs", started),
        artifacts / "cache" / "local",
        lineage.images,
    )
    record = RunRecord(
        run_id=run_id,
        pipeline=pipeline,
        runner="local",
        environment=env,
        state=state,
        started_at=started.isoformat(timespec="seconds"),
        seconds=round(time.perf_counter() - clock, 3),
        data_version=known["data_version"],
        champion=known["champion"],
        metrics=outputs.metrics(steps),
        lineage=lineage,
        steps=steps,
    )
    path = folder / "run.json"
    path.write_text(record.model_dump_json(indent=2) + "\n")
    track(record)
    conclude(record, progress.failed, path)


def track(record: RunRecord) -> None:
    """Send a run to MLflow, where the project uses it; one that was all cached is known there."""
    if TRACKING.exists() and any(step.state == "ran" for step in record.steps.values()):
        importlib.import_module("tools.tracking").log(record)


def facts(pipeline: str, environment: Environment) -> dict[str, str]:
    """What a pipeline can ask for by the name of a parameter, save `lineage`.

    `data_version`, `champion`, `model_store`, and `<step>_settings` for each step.
    """
    settings = {step: project().settings(step) for step in steps_of(pipeline)}
    store = environment.model_store
    if "://" not in store:
        store = str(ROOT / store)
    return {
        "data_version": data_version(settings),
        "champion": ModelStore(store).champion(),
        "model_store": store,
        **{f"{step}{SETTINGS_SUFFIX}": s.to_json() for step, s in settings.items()},
    }


def data_version(settings: Mapping[str, Settings]) -> str:
    """The version of the data that a pipeline reads: of the step that has a `source`."""
    for step in settings.values():
        values = step.model_dump()
        if "source" in values:
            version: str | None = values["version"]
            return version or sources.fingerprint(values["source"], values["query"])
    return ""


def load(pipeline: str, environment: Environment) -> Any:
    """The KFP definition of a pipeline as the environment has it: images and executions."""
    images.use_registry(environment.registry)
    definition = getattr(importlib.import_module(f"pipelines.{pipeline}"), pipeline)
    executions = {step: environment.execution(step) for step in steps_of(pipeline)}
    if not environment.pull_secrets and all(each == Execution() for each in executions.values()):
        return definition
    return configured(definition, executions, environment.pull_secrets)


def origin(pipeline: str) -> Lineage:
    """Commit, lock file, images and settings of a run that starts now."""
    steps = steps_of(pipeline)
    commit = _git("rev-parse", "HEAD")
    lock = (ROOT / "uv.lock").read_bytes()
    return Lineage(
        pipeline=pipeline,
        git_commit=commit or None,
        git_dirty=bool(commit and _git("status", "--porcelain")),
        lock_sha256=hashlib.sha256(lock).hexdigest(),
        images={step: images.image(step) for step in steps},
        settings={step: project().settings(step).complete() for step in steps},
    )


def select(definition: Any, known: dict[str, str]) -> dict[str, str]:
    """The arguments that this pipeline takes.

    Raises:
        ProjectError: it asks for something that nobody knows.
    """
    inputs = definition.component_spec.inputs or {}
    unknown = sorted(
        name for name, spec in inputs.items() if name not in known and not spec.optional
    )
    if unknown:
        raise ProjectError(
            f"the pipeline asks for {unknown[0]!r}, which is not one of {', '.join(known)}: "
            "give the parameter a default"
        )
    return {name: known[name] for name in inputs if name in known}


def execute(
    definition: Any, arguments: dict[str, str], artifacts: Path, progress: "Progress"
) -> None:
    """Run by KFP's own local runner, watched by `progress`."""
    from kfp import local

    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(artifacts / "outputs"),
        raise_on_error=False,
        enable_caching=True,
        # The cache's key does not know the runner, so each runner has a cache of its own.
        cache_root=str(artifacts / "cache" / "local"),
    )
    with progress, contextlib.redirect_stdout(progress), warnings.catch_warnings():
        # kfp doubts any image that has not "python" in its name.
        warnings.simplefilter("ignore")
        definition(**arguments)


def conclude(record: RunRecord, failed: "Step | None", path: Path) -> None:
    """Say how it ended and what comes next, and leave with an exit code that says the same."""
    shown = path.relative_to(ROOT)
    if record.state == "interrupted":
        screen.what_next("Stopped. `make run` goes on from the last finished step.")
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
    registered = record.steps.get("register")
    if registered is None:
        return "Change something and `make run` again: only what it touches is run."
    if registered.state == "skipped":
        return "Not registered. Change config/project.yaml or src/ and `make run` again."
    model = registered.parameters["Output"]
    store = ModelStore(str(ROOT / project().environment(record.environment).model_store))
    kept = store.find(model)
    if kept is None:
        raise ProjectError(
            f"model {model} is not in the model store any more: `make clean run` registers it again"
        )
    what = "is registered" if kept.registered_at >= record.started_at else "is already registered"
    return f"Model {model} {what}. Change config/project.yaml or src/ and `make run` again."


def metrics_table(record: RunRecord) -> Table:
    """A row per metric."""
    table = Table("metric", box=None, pad_edge=False, header_style="dim")
    table.add_column("value", justify="right")
    for name, value in record.metrics.items():
        table.add_row(name, f"{value:.4f}")
    return table


def own_error(log: str) -> str:
    """The error that a step raised, without the frames above it.

    A `ProjectError` is a sentence for people, so its name is left out too.
    """
    _, traceback, tail = log.rpartition("Traceback (most recent call last):")
    lines = tail.splitlines() if traceback else log.splitlines()[-LOG_LINES_SHOWN:]
    if traceback:
        start = next((i for i, line in enumerate(lines) if re.match(r"\w", line)), 0)
        lines = lines[start:]
    text = "\n".join(lines).strip() or "it printed nothing"
    return text.removeprefix("runtime.errors.ProjectError: ")


def refuse_path(root: Path) -> None:
    """Refuse a folder in which KFP's local runner cannot work.

    It replaces the text "python3" wherever it stands in a step's command, paths included, and puts
    the path of Python into a shell command unquoted.
    """
    trouble = re.search(r"python3|[^\w@%+=:,./-]", str(root))
    if trouble:
        raise ProjectError(
            f"the project's path contains {trouble[0]!r}, which KFP's local runner cannot handle: "
            f"move {root} elsewhere"
        )


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    screen.start(run)
