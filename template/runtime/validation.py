"""Say which rows break which rule of a schema, in words."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import pandera.pandas as pa

ROWS_SHOWN = 5
TYPE = "type "


@dataclass(frozen=True)
class Violation:
    """One broken rule.

    `column` is None when the rule is about the whole table; `rows` are labels of the frame's index,
    empty when the rule is not about rows (a missing column, say); `examples` are wrong values.
    """

    column: str | None
    rule: str
    rows: tuple[Any, ...] = ()
    examples: tuple[object, ...] = ()

    def __str__(self) -> str:
        about = f"column {self.column!r}: " if self.column else ""
        if not self.rows:
            return f"{about}{self.rule}"
        shown = ", ".join(map(str, self.rows[:ROWS_SHOWN]))
        more = f" and {len(self.rows) - ROWS_SHOWN} more" if len(self.rows) > ROWS_SHOWN else ""
        values = ", ".join(repr(value) for value in self.examples)
        plural = "rows" if len(self.rows) > 1 else "row"
        return f"{about}{self.rule} does not hold in {plural} {shown}{more} (for example {values})"


def violations(frame: pd.DataFrame, schema: pa.DataFrameSchema) -> list[Violation]:
    """All rules of the schema that the frame breaks; empty when it is good."""
    return validated(frame, schema)[1]


def validated(
    frame: pd.DataFrame, schema: pa.DataFrameSchema
) -> tuple[pd.DataFrame, list[Violation]]:
    """The frame in the types of the schema, and the rules it breaks: as it came when there are."""
    try:
        return schema.validate(frame, lazy=True), []
    except pa.errors.SchemaErrors as error:
        found = [
            _violation(str(check), column, cases)
            for (column, check), cases in error.failure_cases.groupby(
                ["column", "check"], sort=False, dropna=False
            )
        ]
        # What is not even of the type breaks every other rule of its column, and the type's twice.
        typed = {v.column: v for v in reversed(found) if v.rule.startswith(TYPE)}
        return frame, [v for v in found if v is typed.get(v.column, v)]


def example(schema: pa.DataFrameSchema) -> dict[str, Any]:
    """A row that keeps the ranges and choices of a schema, for where no real one is at hand."""
    return {str(name): _value(column) for name, column in schema.columns.items()}


def _value(column: pa.Column) -> Any:
    known: dict[str, Any] = {}
    for check in column.checks:
        known |= check.statistics or {}
    if known.get("allowed_values"):
        return next(iter(known["allowed_values"]))
    if column.nullable:
        return None
    low, high = known.get("min_value"), known.get("max_value")
    if low is not None and high is not None:
        return type(low)((low + high) / 2) if isinstance(low, int | float) else low
    numeric = column.dtype is not None and not str(column.dtype).startswith(("str", "object"))
    default: Any = 0 if numeric else ""
    return low + 1 if isinstance(low, int | float) else high - 1 if high is not None else default


def _violation(check: str, column: object, cases: pd.DataFrame) -> Violation:
    if check == "column_in_dataframe":
        return Violation(None, f"column {cases.failure_case.iloc[0]!r} is missing")
    if check == "column_in_schema":
        return Violation(None, f"column {cases.failure_case.iloc[0]!r} is not in the schema")
    name = str(column) if isinstance(column, str) else None
    rows = tuple(dict.fromkeys(_plain(row) for row in cases["index"].dropna()))
    examples = tuple(dict.fromkeys(_plain(value) for value in cases.failure_case))[:3]
    rule = "not empty" if check == "not_nullable" else check
    if check.startswith(("coerce_dtype", "dtype(")):
        rule = TYPE + check.partition("(")[2].rstrip(")").strip("'")
    return Violation(name, rule, rows, examples)


def _plain(value: object) -> object:
    return value.item() if hasattr(value, "item") else value
