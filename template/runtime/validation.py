"""Say which rows break which rule of a schema, in words."""

from dataclasses import dataclass

import pandas as pd
import pandera.pandas as pa

ROWS_SHOWN = 5


@dataclass(frozen=True)
class Violation:
    """One broken rule.

    `column` is None when the rule is about the whole table; `rows` are row numbers counted from 0,
    empty when the rule is not about rows (a missing column, say); `examples` are wrong values.
    """

    column: str | None
    rule: str
    rows: tuple[int, ...] = ()
    examples: tuple[object, ...] = ()

    def __str__(self) -> str:
        about = f"column {self.column!r}: " if self.column else ""
        if not self.rows:
            return f"{about}{self.rule}"
        shown = ", ".join(map(str, self.rows[:ROWS_SHOWN]))
        more = f" and {len(self.rows) - ROWS_SHOWN} more" if len(self.rows) > ROWS_SHOWN else ""
        values = ", ".join(repr(value) for value in self.examples)
        plural = "rows" if len(self.rows) > 1 else "row"
        return f"{about}{self.rule} is broken in {plural} {shown}{more} (for example {values})"


def violations(frame: pd.DataFrame, schema: pa.DataFrameSchema) -> list[Violation]:
    """All rules of the schema that the frame breaks; empty when it is good."""
    numbered = frame.reset_index(drop=True)
    try:
        schema.validate(numbered, lazy=True)
    except pa.errors.SchemaErrors as error:
        found = [
            _violation(str(check), column, cases)
            for (column, check), cases in error.failure_cases.groupby(
                ["column", "check"], sort=False, dropna=False
            )
        ]
        return _without_echoes(found)
    return []


def _violation(check: str, column: object, cases: pd.DataFrame) -> Violation:
    if check == "column_in_dataframe":
        return Violation(None, f"column {cases.failure_case.iloc[0]!r} is missing")
    if check == "column_in_schema":
        return Violation(None, f"column {cases.failure_case.iloc[0]!r} is not in the schema")
    name = None if pd.isna(column) else str(column)
    rows = tuple(sorted({int(row) for row in cases["index"].dropna()}))
    examples = tuple(dict.fromkeys(_plain(value) for value in cases.failure_case))[:3]
    rule = "not null" if check == "not_nullable" else check
    if check.startswith(("coerce_dtype", "dtype(")):
        kind = check.partition("(")[2].rstrip(")").strip("'")
        rule = f"must be {kind}"
    return Violation(name, rule, rows, examples)


def _without_echoes(found: list[Violation]) -> list[Violation]:
    # A column that cannot be read as its type also fails the type's own check, without rows.
    typed = {v.column for v in found if v.rule.startswith("must be ") and v.rows}
    return [
        v for v in found if not (v.column in typed and v.rule.startswith("must be ") and not v.rows)
    ]


def _plain(value: object) -> object:
    return value.item() if hasattr(value, "item") else value
