"""The reference profiles of registered models, where the run that registered them kept none.

A pipeline from before 0.6 registers without; the rows that it judged on are still here.
"""

import json
from typing import TYPE_CHECKING

from runtime.errors import ProjectError
from runtime.records import ModelRecord
from tools import history, registry

if TYPE_CHECKING:
    import pandas as pd

TRUTH = "truth"


def complete(env: str, model: str) -> None:
    """Give a registered model of this environment its profile, if it has none and can have one."""
    store = registry.store(env)
    record = store.find(model)
    if record is None or store.profile(model) is not None:
        return
    try:
        rows, predictions = held_out(env, record)
    except ProjectError:
        return
    from runtime.reference import Reference

    asked = [*store.sample(model)[0]] if store.sample(model) else []
    profile = Reference.of_model(rows[[name for name in asked if name in rows]], predictions)
    store.keep_profile(model, profile.complete())


def held_out(
    env: str, record: ModelRecord, *, most: int | None = None
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """The rows that a model was judged on, the first `most`, and what was predicted for them.

    Raises:
        ProjectError: no run of this environment has them any more.
    """
    from runtime import datasets

    for folder in reversed(history.folders(env)):
        path = folder / history.RECORD
        steps = json.loads(path.read_text())["steps"] if path.exists() else {}
        made = {name: a for step in steps.values() for name, a in step["artifacts"].items()}
        if record.model_id not in (s["parameters"].get("Output") for s in steps.values()):
            continue
        tests = [a for a in made.values() if a["metadata"].get("sha256") == record.data.test_sha256]
        if not tests or "predictions" not in made:
            continue
        try:
            rows = datasets.read(tests[0]["uri"])
            predictions = datasets.read(made["predictions"]["uri"])
        except (OSError, ImportError, ValueError):
            # Removed since, or kept where this machine cannot read.
            continue
        rows = rows.iloc[:most]
        return rows, predictions.loc[rows.index].drop(columns=TRUTH, errors="ignore")
    raise ProjectError(
        f"the rows that model {record.model_id} was judged on are not here any more: `make run` "
        "makes them anew; what it trains is compared by `make skew RUN=` and the id it shows"
    )
