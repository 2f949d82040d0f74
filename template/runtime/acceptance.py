"""Accept good rows fast: a schema's plain rules as comparisons of whole columns.

pandera takes some 15 ms for thirty columns, however few the rows, as it prepares to describe what
is wrong. Here a row is either proven good in microseconds, or pandera is asked.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from runtime.protocols import INT64, Columns

Test = Callable[[list[Any]], bool]

# What of JSON needs no coercion, and becomes which type of numpy.
TYPES: dict[str, tuple[set[type], np.dtype[Any]]] = {
    "float64": ({float, int}, np.dtype("float64")),
    "int64": ({int}, np.dtype("int64")),
    "bool": ({bool}, np.dtype("bool")),
    "str": ({str}, np.dtype("object")),
}


def _among(allowed_values: Iterable[Any]) -> Test:
    allowed = frozenset(allowed_values)
    return lambda values: allowed.issuperset(values)


def _between(min_value: Any, max_value: Any, include_min: bool, include_max: bool) -> Test:
    above, below = (ge if include_min else gt), (le if include_max else lt)
    return lambda values: above(min(values), min_value) and below(max(values), max_value)


TESTS: dict[str, Callable[..., Test]] = {
    "isin": _among,
    "in_range": _between,
    "greater_than": lambda min_value: lambda values: min(values) > min_value,
    "greater_than_or_equal_to": lambda min_value: lambda values: min(values) >= min_value,
    "less_than": lambda max_value: lambda values: max(values) < max_value,
    "less_than_or_equal_to": lambda max_value: lambda values: max(values) <= max_value,
}


@dataclass(frozen=True)
class _Column:
    name: str
    types: set[type]
    dtype: np.dtype[Any]
    tests: tuple[Test, ...]

    def holds(self, values: list[Any]) -> bool:
        return self.types.issuperset(map(type, values)) and all(test(values) for test in self.tests)


class Acceptance:
    """The rules of a schema, where all of them are plain comparisons."""

    def __init__(self, schema: pa.DataFrameSchema) -> None:
        self._columns = _compiled(schema)
        self._names = pd.Index(list(schema.columns))
        self._numbers = bool(self._columns) and all(c.dtype == "float64" for c in self._columns)

    def frame(self, columns: Columns) -> pd.DataFrame | None:
        """The rows as pandera would return them, when they are proven good; None to ask pandera."""
        if not self._columns or columns.keys() != set(self._names):
            return None
        if not all(column.holds(columns[column.name]) for column in self._columns):
            return None
        if self._numbers:
            values = np.array([columns[c.name] for c in self._columns], dtype="float64")
            return pd.DataFrame(values.T, columns=self._names)
        return pd.DataFrame(
            {c.name: np.array(columns[c.name], dtype=c.dtype) for c in self._columns}
        )


def _compiled(schema: pa.DataFrameSchema) -> Sequence[_Column]:
    """A column for each of the schema's; none at all if there is a rule that is not known here."""
    tabular = (schema.checks, schema.parsers, schema.index, schema.unique, schema.dtype)
    if any(tabular) or schema.ordered:
        return ()
    found = []
    for name, column in schema.columns.items():
        types, dtype = TYPES.get(str(column.dtype), (set(), np.dtype("void")))
        tests = [_test(check) for check in column.checks]
        special = column.regex or column.unique or column.parsers
        if not types or special or not isinstance(name, str) or None in tests:
            return ()
        if dtype == "float64" and not (schema.coerce or column.coerce):
            types = {float}
        if dtype == "int64":
            tests.append(lambda values: min(values) >= INT64.min and max(values) <= INT64.max)
        found.append(_Column(name, types, dtype, tuple(test for test in tests if test)))
    return found


def _test(check: pa.Check) -> Test | None:
    make = TESTS.get(str(check.name))
    if make is None or check.element_wise or check.groupby or check.raise_warning:
        return None
    try:
        return make(**check.statistics or {})
    except TypeError:
        # A check of the team's own that has the name of a known one.
        return None
