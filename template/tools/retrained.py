"""Releasing what was trained again, where a team has turned that on."""

import importlib

from runtime.records import RunRecord
from tools import conclusion, registry, screen
from tools.project import project

STEP = "monitor"


def release(record: RunRecord) -> None:
    """Release what a run has registered after an alarm, if its environment says so."""
    model = registry.registered_by(record)
    if STEP not in record.steps or not model:
        return
    if not project().environment(record.environment).release_retrained:
        return
    screen.notice(f"release_retrained: model {model} is released")
    why = f"trained again: {conclusion.reason(record.steps[STEP])}"
    importlib.import_module("tools.release").release(record.environment, model, why)
