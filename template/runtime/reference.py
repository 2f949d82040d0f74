"""What a model was trained on, in numbers that later data can be held against.

Nothing here is a row of the data: of a column of numbers, how many lie between a few hundred
points; of any other, how many there are of each of its most frequent values. Counts of two parts
of a table add up to those of the whole, so that a table of any size is counted part by part, in a
memory that does not grow. `runtime.drift` says whether two such counts differ.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from runtime.payloads import INPUT, OUTPUT
from runtime.settings import Settings

POINTS = 256
"""A column's distribution is known exactly when it has no more distinct numbers than this, and to
one part in so many when it has."""
VALUES = 200
"""So many values of a column of categories are counted each; all rarer ones together."""
EXAMPLES = 5
BARS = 30
"""Of a picture of numbers."""
TAIL = 0.005
"""What its first and its last bar take together, at either end."""
LARGEST = 1e300
"""Beyond it, the width of a bar is no number any more, and there is no picture."""

Counts = NDArray[np.int64]


class _Counted(Settings):
    """What is counted of any column."""

    counts: list[int]
    missing: int

    @property
    def rows(self) -> int:
        """How many there were, the missing among them."""
        return sum(self.counts) + self.missing


class Numbers(_Counted):
    """A column of numbers, or of times: those are seconds since 1970."""

    kind: Literal["numbers"] = "numbers"
    times: bool = False
    points: list[float]
    """Some of the numbers, the smallest and the largest among them, in order."""
    counts: list[int]
    """How many are less than the first point, equal to it, between it and the next, equal to
    that; and so on to those greater than the last."""
    missing: int
    """How many are not a finite number."""

    def histogram(self, counts: Counts) -> tuple[list[float], list[float]]:
        """Edges, the same for all counts, and the share of what lies between each two.

        The first and the last bar have all that lies beyond, too.
        """
        points = np.asarray(self.points)
        if points.size < 2 or np.abs(points).max() > LARGEST or not counts.sum():
            return [], []
        before = np.cumsum(self.counts)[1::2] / max(1, sum(self.counts))
        low, high = points[np.searchsorted(before, [TAIL, 1 - TAIL]).clip(0, points.size - 1)]
        width = (high - low) / (BARS - 2) or 1.0
        edges = np.linspace(low - width, high + width, BARS + 1)
        upto = np.cumsum(counts)
        # Of what equals an edge, half counts on either side.
        middle = (upto[1::2] + upto[0:-1:2]) / 2
        inner = np.interp(edges[1:-1], points, middle)
        shares = np.diff(inner, prepend=0, append=upto[-1]) / upto[-1]
        return edges.tolist(), shares.tolist()

    def tally(self, column: "pd.Series[Any]") -> tuple[Counts, int]:
        """The `counts` and `missing` of another column."""
        numbers = _numbers(column, times=self.times)
        # Sorting numbers and finding points among them is faster than the other way round.
        known = np.sort(numbers[np.isfinite(numbers)])
        points = np.asarray(self.points, dtype=np.float64)
        upto = np.empty(2 * points.size + 2, dtype=np.int64)
        upto[0], upto[-1] = 0, known.size
        upto[1:-1:2] = np.searchsorted(known, points, side="left")
        upto[2:-1:2] = np.searchsorted(known, points, side="right")
        return np.diff(upto), numbers.size - known.size


class Categories(_Counted):
    """A column of anything else, by its values as text."""

    kind: Literal["categories"] = "categories"
    values: list[str]
    """The most frequent first."""
    counts: list[int]
    """How many there are of each value, and last, of all that are not among `values`."""
    missing: int

    def histogram(self, counts: Counts) -> tuple[list[str], list[float]]:
        """The most frequent values, then the others, and the share of each."""
        if not counts.sum():
            return [], []
        kept = self.values[: BARS // 3]
        few = [*counts[: len(kept)], counts[len(kept) :].sum()]
        return [*kept, "other"], [float(count / counts.sum()) for count in few]

    def tally(self, column: "pd.Series[Any]") -> tuple[Counts, int]:
        """The `counts` and `missing` of another column."""
        found = _categories(column)
        counts = np.zeros(len(self.values) + 1, dtype=np.int64)
        place = {value: number for number, value in enumerate(self.values)}
        for value, count in found.items():
            counts[place.get(str(value), len(self.values))] += count
        return counts, len(column) - int(found.sum())

    def new(self, column: "pd.Series[Any]") -> list[str]:
        """Some values that the reference does not have; none when it has not kept all it had."""
        if self.counts[-1]:
            return []
        known = set(self.values)
        return [str(v) for v in _categories(column).index if str(v) not in known][:EXAMPLES]


Column = Annotated[Numbers | Categories, Field(discriminator="kind")]


class Reference(Settings):
    """A table that later ones are held against, column by column."""

    columns: dict[str, Column]

    @classmethod
    def of(cls, table: pd.DataFrame) -> Self:
        """Count what is in a table."""
        return cls(columns={str(name): _column(table[name]) for name in table})

    @classmethod
    def of_model(cls, inputs: pd.DataFrame, outputs: pd.DataFrame) -> Self:
        """Count what a model was asked, and what it answered, as the payload log names them."""
        return cls.of(joined(inputs, outputs))


class Tally:
    """Later data, counted as the reference counts its own."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.rows = 0
        self.counts: dict[str, Counts] = {
            name: np.zeros(len(column.counts), dtype=np.int64)
            for name, column in reference.columns.items()
        }
        self.missing = dict.fromkeys(reference.columns, 0)
        self.absent = dict.fromkeys(reference.columns, 0)
        """In how many rows the table had no such column."""
        self.new: dict[str, list[str]] = {name: [] for name in reference.columns}
        """Some values of each column of categories that the reference does not have."""

    @classmethod
    def of(cls, reference: Reference, parts: Iterable[pd.DataFrame]) -> Self:
        """Count tables, one after the other."""
        tally = cls(reference)
        for part in parts:
            tally.add(part)
        return tally

    def add(self, table: pd.DataFrame) -> None:
        """Count a table. Columns that the reference does not have are not looked at."""
        self.rows += len(table)
        for name, column in self.reference.columns.items():
            if name not in table:
                self.absent[name] += len(table)
                continue
            counts, missing = column.tally(table[name])
            self.counts[name] += counts
            self.missing[name] += missing
            wanting = len(self.new[name]) < EXAMPLES
            if isinstance(column, Categories) and counts[-1] and wanting:
                seen = [*self.new[name], *column.new(table[name])]
                self.new[name] = list(dict.fromkeys(seen))[:EXAMPLES]


def joined(inputs: pd.DataFrame, outputs: pd.DataFrame) -> pd.DataFrame:
    """One table of what a model was asked and what it answered, row by row."""
    named = [inputs.add_prefix(INPUT), outputs.add_prefix(OUTPUT)]
    return pd.concat([each.reset_index(drop=True) for each in named], axis=1)


def _column(column: "pd.Series[Any]") -> Numbers | Categories:
    times = pd.api.types.is_datetime64_any_dtype(column)
    truth = pd.api.types.is_bool_dtype(column)
    if times or (pd.api.types.is_numeric_dtype(column) and not truth):
        numbers = _numbers(column, times=times)
        points = _points(np.sort(numbers[np.isfinite(numbers)]))
        empty = Numbers(times=times, points=points, counts=[], missing=0)
        counts, missing = empty.tally(column)
        return empty.model_copy(update={"counts": counts.tolist(), "missing": missing})
    found = _categories(column)
    kept = found.iloc[:VALUES]
    return Categories(
        values=[str(value) for value in kept.index],
        counts=[*map(int, kept), int(found.iloc[VALUES:].sum())],
        missing=len(column) - int(found.sum()),
    )


def _points(known: NDArray[np.float64]) -> list[float]:
    """Some of these sorted numbers: all when they are few, else as many between each two."""
    distinct = known[np.flatnonzero(np.diff(known, prepend=np.nan) != 0)]
    if distinct.size <= POINTS:
        return [float(number) for number in distinct]
    places = np.linspace(0, known.size - 1, POINTS).round().astype(np.int64)
    return [float(number) for number in np.unique(known[places])]


def _numbers(column: "pd.Series[Any]", *, times: bool) -> NDArray[np.float64]:
    if times:
        moments = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
        # Half of the times of a second table may be of another unit.
        whole = moments.dt.as_unit("us").astype("int64").to_numpy(np.float64) / 1e6
        return np.where(moments.isna(), np.nan, whole)
    if not pd.api.types.is_numeric_dtype(column):
        # What is not a number counts as missing.
        column = column.map(_number)
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _categories(column: "pd.Series[Any]") -> "pd.Series[int]":
    """How many there are of each value as text; the most frequent first, then by the alphabet."""
    if column.dtype == object:
        # Before they are counted: 1 and True are equal, and not the same text.
        column = column.dropna().map(str)
    found = column.value_counts(sort=False)
    found = found[found > 0].groupby(found.index[found > 0].map(str)).sum()
    return found.sort_values(ascending=False, kind="stable")
