"""Lab 6: beat the champion."""

from collections.abc import Iterator
from typing import Any

from runtime.records import ModelRecord, RunRecord
from runtime.store import model_id
from tools import history, registry
from tools.labs import past
from tools.labs.lab import Finding, Scope


def check(scope: Scope) -> Iterator[Finding]:
    """A released model that came out of a run which held it against another one, fairly."""
    now = past.champion()
    yield Finding(
        "there is a champion",
        now is not None,
        "no model is released",
        ("Which verb puts a registered model in use?", "`make release`"),
    )
    if now is None:
        return
    fight = fought(now, scope)
    before = registry.store(past.ENV).find(model_id(fight.champion)) if fight else None
    yield Finding(
        "the champion has beaten the one before",
        before is not None,
        f"model {now.model_id} came out of no run that held it against a champion",
        (
            "While a model is released, `make run` holds each candidate against it: change the "
            "model or its features, and run.",
            "What decides is the metric below `evaluate:`. Less or more regularisation, another "
            "depth, a feature: one thing at a time, and `make compare`.",
            "A candidate that is better is registered; `make release` makes it the champion.",
        ),
    )
    if fight and before:
        yield Finding("it was a fair fight", *fair(before, fight))


def fought(model: ModelRecord, scope: Scope) -> RunRecord | None:
    """The run that registered a model while another one was the champion; None without one."""
    for run in reversed(past.succeeded(scope=scope)):
        others = run.champion not in ("", model.sha256)
        if others and registry.registered_by(run) == model.model_id:
            return run
    return None


def fair(before: ModelRecord, fight: RunRecord) -> tuple[bool, str, tuple[str, ...]]:
    """Whether both were judged on the same rows, by the same measure, and by no lower bar."""
    old, new = before.lineage.settings, fight.lineage.settings
    hints = (
        "A champion is beaten by a better model, not by an easier exam.",
        "Put `ingest:` and `evaluate:` in config/project.yaml back as they were "
        "(`git diff config`), release the old model again (`make release RUN=` and its id), and "
        "try another change.",
    )
    tests = fight.steps["ingest"].artifacts["test_data"]
    if before.data.test_sha256 != tests.metadata.get("sha256"):
        return False, "the two were judged on other rows: `ingest` has changed in between", hints
    metric = history.deciding_metric(new)
    if metric != history.deciding_metric(old):
        return False, "the metric that decides is another one", hints
    sign = -1 if history.lower_is_better(metric) else 1
    if looser(old, new, sign):
        return False, "`minimum` or `margin` asks less than it did", hints
    if sign * (fight.metrics[metric] - before.metrics[metric]) <= 0:
        return False, f"its {metric} is not better than that of the model before", hints
    return True, "", ()


def looser(old: dict[str, Any], new: dict[str, Any], sign: int) -> bool:
    """Whether less was asked of the new model than of the old one; `sign` is -1 for errors."""
    bars = [settings.get("evaluate", {}) for settings in (old, new)]
    least = [sign * b["minimum"] if b.get("minimum") is not None else -float("inf") for b in bars]
    margins = [float(b.get("margin", 0.0)) for b in bars]
    return least[1] < least[0] or margins[1] < margins[0]
