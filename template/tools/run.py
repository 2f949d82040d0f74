"""`make run`: run a pipeline, here or followed on a cluster, and record what happened."""

import contextlib
import gc
import hashlib
import importlib
import time
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime import sources
from runtime.errors import ProjectError
from runtime.records import Lineage, RunRecord, RunState
from runtime.settings import Settings
from runtime.store import model_id
from tools import images, profiles, registry, retrained, runners, screen
from tools.commit import commit
from tools.conclusion import conclude
from tools.definition import load
from tools.environment import Environment
from tools.imports import steps_of
from tools.project import ROOT, TRACKING, project

if TYPE_CHECKING:
    from tools.progress import Progress

SETTINGS_SUFFIX = "_settings"


def run(
    pipeline: Annotated[str, typer.Option(help="A file of pipelines/, without .py.")] = "training",
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    runner: Annotated[
        str, typer.Option(help="local: in processes; docker: in images; cluster: on Kubeflow.")
    ] = "local",
) -> None:
    """Run a pipeline; a step that has not changed is not run again."""
    # A short process, most of it imports, of which collecting garbage would be a tenth.
    gc.disable()
    runners.require(runner)
    if runner == runners.CLUSTER:
        importlib.import_module("tools.watch").run_there(pipeline, env)
        return
    images.prefetch(steps_of(pipeline))
    from tools import outputs, study
    from tools.progress import Progress

    environment = project().environment(env)
    environment.require_folder(env)
    known = facts(pipeline, env, environment)
    if "monitor" in steps_of(pipeline) and known["champion"]:
        profiles.complete(env, model_id(known["champion"]))
    definition = load(pipeline, environment)
    lineage = origin(pipeline, environment)
    known["lineage"] = lineage.model_dump_json()
    arguments = select(definition, known)

    plan = runners.Plan(runner, environment, lineage.images, known["model_store"])
    with plan.runner() as kfp_runner:
        started, clock = datetime.now(UTC), time.perf_counter()
        run_id = f"{started:%Y%m%d-%H%M%S}-{started.microsecond // 1000:03d}"
        folder = plan.artifacts / "runs" / run_id
        folder.mkdir(parents=True)
        progress = Progress(definition.pipeline_spec, folder)
        try:
            execute(definition, arguments, plan, kfp_runner, progress)
            state: RunState = "failed" if progress.failed else "succeeded"
        except KeyboardInterrupt:
            state = "interrupted"
    steps = outputs.records(
        progress.steps, outputs.folder_since(plan.outputs, started), plan.cache, lineage.images
    )
    record = RunRecord(
        run_id=run_id,
        pipeline=pipeline,
        runner=runner,
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
    if registered := registry.registered_by(record):
        profiles.complete(env, registered)
    for searched in study.searches(steps).values():
        screen.console.print(f"{'search':<16} {study.line(searched)}", soft_wrap=True)
    conclude(record, progress.failed, path)
    retrained.release(record)


def track(record: RunRecord) -> None:
    """Send a run to MLflow, where the project uses it; one that was all cached is known there."""
    if TRACKING.exists() and any(step.state == "ran" for step in record.steps.values()):
        importlib.import_module("tools.tracking").log(record)


def facts(pipeline: str, env: str, environment: Environment) -> dict[str, str]:
    """What a pipeline can ask for by the name of a parameter, save `lineage`.

    `data_version`, `champion`, `environment`, `model_store`, and `<step>_settings` for each step.
    """
    settings = {step: project().settings(step) for step in steps_of(pipeline)}
    return {
        "data_version": data_version(settings),
        "champion": registry.champion(environment.model_store),
        **given(settings, env, environment),
    }


def given(settings: Mapping[str, Settings], env: str, environment: Environment) -> dict[str, str]:
    """Of these facts, what is written down: nothing has to be asked for it."""
    store = environment.model_store
    return {
        "environment": env,
        "model_store": store if "://" in store else str(ROOT / store),
        **{f"{step}{SETTINGS_SUFFIX}": s.to_json() for step, s in settings.items()},
    }


def data_version(settings: Mapping[str, Settings]) -> str:
    """The version of the data that a pipeline reads: of the step whose `source` has a version."""
    for step in settings.values():
        values = step.model_dump()
        if "source" in values and "version" in values:
            version: str | None = values["version"]
            return version or sources.fingerprint(values["source"], values["query"])
    return ""


def origin(pipeline: str, environment: Environment) -> Lineage:
    """Commit, lock file, images and settings of a run that starts now."""
    steps = steps_of(pipeline)
    checkout = commit()
    lock = (ROOT / "uv.lock").read_bytes()
    return Lineage(
        pipeline=pipeline,
        git_commit=checkout.hash or None,
        git_dirty=checkout.dirty,
        lock_sha256=hashlib.sha256(lock).hexdigest(),
        images={step: images.image(step, environment.registry) for step in steps},
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
    definition: Any,
    arguments: dict[str, str],
    plan: runners.Plan,
    kfp_runner: Any,
    progress: "Progress",
) -> None:
    """Run by one of KFP's own local runners, watched by `progress`."""
    from kfp import local

    local.init(
        runner=kfp_runner,
        pipeline_root=str(plan.outputs),
        raise_on_error=False,
        enable_caching=True,
        cache_root=str(plan.cache),
    )
    with (
        runners.on_stop(progress.stop),
        progress,
        contextlib.redirect_stdout(progress),
        warnings.catch_warnings(),
    ):
        # kfp doubts any image that has not "python" in its name.
        warnings.simplefilter("ignore")
        definition(**arguments)


if __name__ == "__main__":
    screen.start(run)
