"""Lab 8: the world shifts: drift, alarm, retrain, roll back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec

from runtime.errors import ProjectError
from runtime.records import RunRecord
from runtime.store import CHAMPION, model_id
from tools import registry
from tools.labs import past
from tools.labs.broken_data import data
from tools.labs.lab import MATERIAL, Finding, Scope
from tools.project import ROOT, project

if TYPE_CHECKING:
    import pandas as pd

FILE = MATERIAL / "shifted.csv"
PIPELINE = "monitoring"
SHIFT = 1.5
"""By how many standard deviations a column reads higher."""
MOST = 5
"""So many columns do."""


def prepare() -> str:
    """Write the project's own data as they would be after every other instrument was replaced."""
    if not FILE.exists():
        moved = shifted(data())
        FILE.parent.mkdir(parents=True, exist_ok=True)
        moved.to_csv(FILE, index=False)
    return f"{FILE.relative_to(ROOT)} has the rows of a year later: instruments were replaced."


def check(scope: Scope) -> Iterator[Finding]:
    """An alarm, a model of the world as it is now, and the way back."""
    prepare()
    file = str(FILE.relative_to(ROOT))
    looked = [
        (run, found)
        for run in past.succeeded(PIPELINE, scope)
        if (found := findings(run)).get("source") == file
    ]
    yield Finding(
        "the released model was held against the new rows",
        bool(looked),
        f"no run of `{PIPELINE}` has looked at {file}",
        (
            "The pipeline `monitoring` looks at what `monitor:` in config/project.yaml names.",
            f"Below `monitor:` add `source: {file}`, then `make run PIPELINE={PIPELINE}`.",
        ),
    )
    alarms = [run for run, found in looked if found.get("verdict") == "retrain"]
    yield Finding(
        "that was an alarm",
        bool(alarms),
        f"the verdict was to keep the model: {looked[-1][1]['reason'] if looked else 'no look'}",
        (
            "What is an alarm is decided by `alpha`, `distance` and `retrain_on` below `monitor:`.",
            "Put those back as they were: `git diff config`.",
        ),
    )
    again = [run for run in alarms if registry.registered_by(run) and past.source(run) == file]
    yield Finding(
        "a model of the new world was trained and registered",
        bool(again),
        learned(alarms, file),
        (
            "On which data should a model be trained that is to answer for the new world?",
            f"`ingest:` reads the old world still: `source: {file}` there too, then "
            f"`make run PIPELINE={PIPELINE}` once more.",
        ),
    )
    if again:
        yield Finding("it was released, and taken back", *rolled_back(again))


def learned(alarms: list[RunRecord], file: str) -> str:
    """What became of the training after an alarm."""
    if alarms and past.source(alarms[-1]) != file:
        return f"it was trained again, but on {past.source(alarms[-1])}, as the world was"
    return "no model that was trained after the alarm is registered"


def rolled_back(again: list[RunRecord]) -> tuple[bool, str, tuple[str, ...]]:
    """Whether the champion is again the one that a new model had replaced."""
    champion = past.champion()
    released_at = when_released()
    for run in again:
        new = str(registry.registered_by(run))
        if champion and champion.model_id == new:
            return (
                False,
                f"model {new}, of the new world, is released now",
                (
                    "Something is wrong with it, say. Which model answered before?",
                    f"`make release RUN={model_id(run.champion)}` brings it back.",
                ),
            )
        registered = registry.store(past.ENV).find(new)
        # A release that changes nothing would have left the date as it was.
        later = registered and released_at >= registered.registered_at
        if champion and later and champion.sha256 == run.champion:
            return True, "", ()
    new = str(registry.registered_by(again[-1]))
    return (
        False,
        f"model {new} was never released",
        ("Registering releases nothing: a person does that.", f"`make release RUN={new}`"),
    )


def when_released() -> str:
    """When the champion was released, UTC, ISO 8601; empty when nothing is."""
    store = project().environment(past.ENV).model_store
    files, root = fsspec.core.url_to_fs(store if "://" in store else str(ROOT / store))
    path = f"{root}/{CHAMPION}"
    return str(json.loads(files.cat_file(path))["released_at"]) if files.exists(path) else ""


def findings(run: RunRecord) -> dict[str, Any]:
    """What a look at recent rows found; empty when it is not here any more."""
    made = run.steps["monitor"].artifacts.get("findings") if "monitor" in run.steps else None
    if made is None or not Path(made.uri).exists():
        return {}
    found: dict[str, Any] = json.loads(Path(made.uri).read_text("utf-8"))
    return found


def shifted(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The rows when every other one was measured higher, as far as the schema allows it.

    Raises:
        ProjectError: no column can be shifted.
    """
    from runtime import validation

    schema = project().science("schema").INPUT
    moved = rows.copy()
    names: list[str] = []
    for name in schema.columns:
        if len(names) == MOST:
            break
        if moved[name].dtype.kind != "f":
            continue
        higher = moved.copy()
        higher.loc[higher.index % 2 == 1, name] += SHIFT * rows[name].std()
        if not validation.violations(higher[[*schema.columns]], schema):
            moved = higher
            names.append(name)
    if not names:
        raise ProjectError(
            "no column of numbers can be shifted within the ranges of schema.py, so there is "
            "nothing to show"
        )
    return moved
