"""Recent rows of a model: what it was asked, what it answered, and what turned out to be true.

They come from the payload log, day by day, or from a table, part by part; a table has no answers,
so the model is asked for them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import pandera.pandas as pa
from sklearn.pipeline import Pipeline

from runtime import datasets, predictions, sources, validation
from runtime.errors import ProjectError
from runtime.payloads import PayloadStore
from runtime.validation import Violation
from runtime.watch import Watch

REQUEST, ROW = "request_id", "row"
DAY = timedelta(days=1)

Answer = Callable[[Pipeline, pd.DataFrame], Any]


@dataclass(frozen=True)
class Part:
    """Some rows; inputs, outputs and truth have an entry for each."""

    inputs: pd.DataFrame
    """The columns that the source has, of those that the model is asked with."""
    outputs: pd.DataFrame
    """Empty in rows that break the schema."""
    truth: "pd.Series[Any]"
    """Of the target; missing where nobody knows it yet."""
    violations: Sequence[Violation] = ()
    """`rows` in them count from 0."""
    others: int = field(default=0)
    """Rows that another model answered: they are in none of these."""


def log(
    options: Watch, model: str, *, schema: pa.DataFrameSchema, target: str, now: datetime
) -> Iterator[Part]:
    """What a model was asked and answered, by its id; the newest day first.

    Raises:
        ProjectError: the log or the labels cannot be read.
    """
    store = PayloadStore(sources.log(options.source))
    known = labels(options.labels, target, max_bytes=options.max_size)
    until, first = now, now - options.days * DAY
    while until > first:
        since = max(first, until - DAY)
        kept = store.read(since=since, until=until)
        until = since
        own = kept.asked["model_id"] == model
        asked = kept.asked[own].reset_index(drop=True)
        inputs, outputs = (f[own].reset_index(drop=True) for f in (kept.inputs, kept.outputs))
        inputs = inputs[[name for name in schema.columns if name in inputs]]
        truth = pd.Series([None] * len(asked), name=target, dtype=object)
        if known is not None and len(asked):
            truth = asked[[REQUEST, ROW]].merge(known, on=[REQUEST, ROW], how="left")[target]
        broken = validation.violations(inputs, _rules_for(inputs, schema))
        yield Part(inputs, outputs, truth, broken, int((~own).sum()))


def table(
    options: Watch, model: Pipeline, *, schema: pa.DataFrameSchema, target: str, answer: Answer
) -> Iterator[Part]:
    """The rows of a table, with the model's answers to those that keep the schema.

    Raises:
        ProjectError: the table cannot be read.
    """
    wanted = list(schema.columns)
    for rows in _rows(options, [*wanted, target]):
        rows = rows.reset_index(drop=True)
        inputs = rows[[name for name in wanted if name in rows]]
        broken = validation.violations(inputs, schema)
        bad = {row for violation in broken for row in violation.rows}
        outputs = pd.DataFrame(index=rows.index)
        good = inputs.drop(index=list(bad))
        if len(inputs.columns) == len(wanted) and len(good):
            outputs = predictions.answered(model, good, answer).reindex(rows.index)
        truth = rows.get(target, pd.Series([None] * len(rows), dtype=object))
        yield Part(inputs, outputs, truth, broken)


def labels(source: str, target: str, *, max_bytes: int) -> pd.DataFrame | None:
    """What turned out to be true, by request and row: the last that was said of each.

    Raises:
        ProjectError: it cannot be read, or lacks a column.
    """
    if not source:
        return None
    found = sources.read(source, max_bytes=max_bytes, text=[REQUEST])
    for name in (REQUEST, target):
        if name not in found:
            raise ProjectError(f"the labels in {source!r} have no column {name!r}")
    if ROW not in found:
        found[ROW] = 0
    found = found[[REQUEST, ROW, target]].dropna()
    found[REQUEST] = found[REQUEST].astype(str)
    places = pd.to_numeric(found[ROW], errors="coerce")
    if (places % 1 != 0).any():
        raise ProjectError(f"the labels in {source!r}: {ROW!r} must be whole numbers")
    found[ROW] = places.astype("int64")
    return found.drop_duplicates([REQUEST, ROW], keep="last")


def _rules_for(inputs: pd.DataFrame, schema: pa.DataFrameSchema) -> pa.DataFrameSchema:
    """The schema of the columns that are there; without rules across columns, unless all are."""
    known = schema.select_columns(list(inputs.columns))
    if len(known.columns) < len(schema.columns):
        known.checks, known.unique = [], None
    return known


def _rows(options: Watch, columns: list[str]) -> Iterator[pd.DataFrame]:
    if sources.is_one_parquet(options.source):
        yield from datasets.parts(sources.expanded(options.source), columns=columns)
    else:
        yield sources.read(options.source, options.query, max_bytes=options.max_size)
