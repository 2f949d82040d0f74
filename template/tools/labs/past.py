"""What the participant's runs left: their records, and the models and tables that they made."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime.errors import ProjectError
from runtime.records import ModelRecord, RunRecord
from runtime.store import model_id
from tools import history, registry
from tools.labs.lab import Scope

ENV = "local"
EVERYTHING = Scope()


def runs(pipeline: str = "training", env: str = ENV, scope: Scope = EVERYTHING) -> list[RunRecord]:
    """The runs of a pipeline, the oldest first; those that left no readable record are left out."""
    found = []
    for folder in history.folders(env):
        try:
            record = RunRecord.from_json((folder / history.RECORD).read_text("utf-8"))
        except (OSError, UnicodeDecodeError, ProjectError):
            continue
        if record.pipeline == pipeline and record.started_at >= scope.since:
            found.append(record)
    return found


def succeeded(pipeline: str = "training", scope: Scope = EVERYTHING) -> list[RunRecord]:
    """Those of them that succeeded."""
    return [run for run in runs(pipeline, scope=scope) if run.state == "succeeded"]


def folder(run: RunRecord) -> Path:
    """Where a run left its record and pages."""
    return history.artifacts(run.environment) / "runs" / run.run_id


def states(run: RunRecord) -> dict[str, str]:
    """What became of each step of a run."""
    return {name: step.state for name, step in run.steps.items()}


def source(run: RunRecord) -> str:
    """Where a run read its examples."""
    return str(run.lineage.settings.get("ingest", {}).get("source", ""))


def differing(before: RunRecord, after: RunRecord) -> list[str]:
    """The settings in which two runs differ, as `<step>.<key>`."""
    old, new = (dict(_flat(run.lineage.settings)) for run in (before, after))
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def _flat(settings: Any) -> Iterator[tuple[str, Any]]:
    for step, values in settings.items():
        for key, value in values.items():
            yield f"{step}.{key}", value


def champion() -> ModelRecord | None:
    """The released model; None when nothing is released."""
    store = registry.store(ENV)
    sha256 = store.champion()
    return store.find(model_id(sha256)) if sha256 else None


def first_model() -> ModelRecord | None:
    """The model that was registered first; None before there is one."""
    return next(iter(registry.store(ENV).records()), None)
