"""What the steps of a local run wrote, read from the files that kfp.local keeps."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from runtime.records import Artifact, StepRecord
from tools.progress import Step
from tools.project import ROOT


def folder_since(outputs: Path, started: datetime) -> Path | None:
    """The folder that KFP made for the run that started then; None when nothing was run."""
    if not outputs.exists():
        return None
    made = [path for path in outputs.iterdir() if path.stat().st_mtime >= started.timestamp()]
    return max(made, key=lambda path: path.stat().st_mtime, default=None)


def records(
    steps: list[Step], outputs: Path | None, cache: Path, images: dict[str, str]
) -> dict[str, StepRecord]:
    """The record of each step: its state, and the values and artifacts it returned.

    `outputs` is the folder of this run's pipeline, `cache` the folder of kfp's cache entries.
    """
    found = {}
    for step in steps:
        values, artifacts = _written(step, outputs, cache)
        found[step.name] = StepRecord(
            state=step.state,  # type: ignore[arg-type] # a finished step has one of the states
            seconds=round(step.seconds, 3),
            image=images.get(step.component.replace("-", "_")),
            log=step.log.relative_to(ROOT).as_posix() if step.log else None,
            after=list(step.after),
            within=list(step.within),
            parameters=values,
            artifacts=artifacts,
        )
    return found


def metrics(steps: dict[str, StepRecord]) -> dict[str, float]:
    """All scalar metrics of a run, by name: kfp's cache keeps them in another order."""
    found = {
        name: value
        for step in steps.values()
        for artifact in step.artifacts.values()
        if artifact.type == "system.Metrics"
        for name, value in artifact.metadata.items()
        if isinstance(value, int | float)
    }
    return dict(sorted(found.items()))


def _written(
    step: Step, outputs: Path | None, cache: Path
) -> tuple[dict[str, Any], dict[str, Artifact]]:
    if step.state == "cached":
        entry = next(cache.glob(f"{step.cache_key}*.json"))
        content: dict[str, Any] = json.loads(entry.read_text())
        listed = {
            name: value
            for name, value in content.items()
            if isinstance(value, dict) and "uri" in value
        }
        values = {name: value for name, value in content.items() if name not in listed}
    elif step.state == "ran" and outputs:
        path = next(outputs.rglob(f"{step.component}/executor_output.json"))
        content = json.loads(path.read_text())
        listed = {
            name: value["artifacts"][0] for name, value in content.get("artifacts", {}).items()
        }
        values = content.get("parameterValues", {})
    else:
        return {}, {}
    types = step.spec.output_definitions.artifacts
    return values, {
        name: Artifact(
            type=types[name].artifact_type.schema_title,
            uri=artifact["uri"],
            metadata=artifact["metadata"],
        )
        for name, artifact in listed.items()
    }
