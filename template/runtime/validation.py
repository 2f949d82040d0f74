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
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        found = [
            _violation(str(check), column, cases)
            for (column, check), cases in error.failure_cases.groupby(
                ["column", "check"], sort=False, dropna=False
            )
        ]
        # What is not even of the type breaks every other rule of its column, and the type's twice.
        typed = {v.column: v for v in reversed(found) if v.rule.startswith(TYPE)}
        return [v for v in found if v is typed.get(v.column, v)]
    return []


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
