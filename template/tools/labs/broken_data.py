"""Lab 4: broken data, and validation that stops it."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from runtime.errors import ProjectError
from tools import registry
from tools.labs import past
from tools.labs.lab import MATERIAL, Finding, Scope
from tools.project import ROOT, project

if TYPE_CHECKING:
    import pandas as pd

FILE = MATERIAL / "broken.csv"
NOTE = MATERIAL / "broken.json"
"""What was broken, so that the check knows."""
ROWS = (3, 17, 41)
WRONG = (1e9, -1e9)
"""What no instrument reads, whatever it measures."""


def prepare() -> str:
    """Write the project's own data to a file, with some cells that cannot be true."""
    if not FILE.exists():
        frame = data()
        column, value = breakable(frame)
        broken = frame.copy()
        broken.loc[broken.index.isin(ROWS), column] = value
        FILE.parent.mkdir(parents=True, exist_ok=True)
        broken.to_csv(FILE, index=False)
        NOTE.write_text(json.dumps({"column": column, "value": value}), encoding="utf-8")
    return f"{FILE.relative_to(ROOT)} has this project's data, as somebody sent them to you."


def check(scope: Scope) -> Iterator[Finding]:
    """A run that validation stopped, a schema that still would, and a run that was good again."""
    prepare()
    file = str(FILE.relative_to(ROOT))
    runs = [run for run in past.runs(scope=scope) if past.source(run) == file]
    stopped = [run for run in runs if past.states(run).get("validate") == "failed"]
    yield Finding(
        "validation stopped a run on the broken data",
        bool(stopped),
        f"no run read {file} and was stopped by `validate`",
        (
            "Where a run's data come from is said below `ingest:` in config/project.yaml.",
            f"`source: {file}`, then `make run`. It has to fail.",
        ),
    )
    yield Finding("the schema still refuses what cannot be true", *refused())
    mended = [run for run in runs if run.state == "succeeded"]
    yield Finding(
        "after that, a run on this source succeeded",
        bool(stopped and mended and mended[-1].started_at > stopped[0].started_at),
        f"no run on {file} has succeeded since",
        (
            "The run names rows and column. What would you do with such rows at work?",
            "`read` in src/, in data.py, is the place to drop or mend rows before anything else "
            "sees them. Or mend the file itself.",
            "In `read`: `frame = sources.read(source, query, max_bytes=max_bytes)`, then return "
            "only those rows of `frame` in which the column is within the limits of schema.py.",
        ),
    )


def refused() -> tuple[bool, str, tuple[str, ...]]:
    """Whether a row with the broken cell still breaks the schema."""
    import pandas as pd

    from runtime import validation

    note = json.loads(NOTE.read_text("utf-8"))
    schema = project().science("schema").INPUT
    first = past.first_model()
    rows = registry.store(past.ENV).sample(first.model_id) if first else []
    frame = pd.DataFrame(rows[:1] or [validation.example(schema)])
    frame[note["column"]] = note["value"]
    return (
        bool(validation.violations(frame, schema)),
        f"schema.py now takes a row whose {note['column']!r} is {note['value']:g}",
        (
            "Validation is there to stop what cannot be true. Was it the ruler that was wrong, or "
            "what was measured?",
            "Put the limits of schema.py back (`git diff src`), and mend the data instead.",
        ),
    )


def data() -> "pd.DataFrame":
    """The project's examples, as they are before anything is mended.

    Raises:
        ProjectError: they are those of a lab, too few, or not yet with the columns of the schema.
    """
    from runtime import sources

    options: Any = project().settings("ingest")
    if options.source.startswith(str(MATERIAL.relative_to(ROOT))):
        raise ProjectError(
            f"config/project.yaml: ingest.source is {options.source}, of another lab: put it back "
            "as it was, and try again"
        )
    frame = sources.read(options.source, options.query, max_bytes=options.max_size)
    if len(frame) <= max(ROWS):
        raise ProjectError(
            f"{options.source} has {len(frame)} rows, and this lab needs {max(ROWS) + 1}: "
            "do it with the data that the project came with"
        )
    missing = [name for name in project().science("schema").INPUT.columns if name not in frame]
    if missing:
        raise ProjectError(
            f"{options.source} has no column {missing[0]!r} before `read` in data.py has made it, "
            "and this lab breaks data as they come: do it with the data that the project came with"
        )
    return frame.reset_index(drop=True)


def breakable(frame: "pd.DataFrame") -> tuple[str, float]:
    """A column of numbers, and a value that the schema does not let through in it.

    Raises:
        ProjectError: there is none.
    """
    from runtime import validation

    schema = project().science("schema").INPUT
    for column in schema.columns:
        for value in WRONG:
            row = frame.loc[:0, [*schema.columns]].copy()
            if row[column].dtype.kind != "f":
                continue
            row[column] = value
            if validation.violations(row, schema):
                return column, value
    raise ProjectError(
        "schema.py lets every number through in every column, so nothing can be broken: give a "
        "column a range, as docs/your-own-data.md shows"
    )
