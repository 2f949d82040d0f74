"""Which rows are held out: the same ones, however the table was written, read or grew."""

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from runtime import holdout

ROWS = 20_000


def drawn(rows: pd.DataFrame, fraction: float = 0.2, seed: int = 7) -> "pd.Series[bool]":
    """Say it by the rows' own index."""
    return pd.Series(holdout.drawn(rows, fraction=fraction, seed=seed), index=rows.index)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Rows of numbers and words."""
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "length": random.normal(size=ROWS) / 3,
            "count": random.integers(0, 10**12, ROWS),
            "colour": random.choice(["red", "green", "blue"], ROWS).astype(object),
        }
    )


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5])
def test_the_share_is_what_was_asked_for(table: pd.DataFrame, fraction: float) -> None:
    """As near as chance allows, of several columns or a counted one."""
    spread = 4 * np.sqrt(fraction * (1 - fraction) / ROWS)
    for rows in (table, pd.DataFrame({"customer": range(10**9, 10**9 + ROWS)})):
        assert drawn(rows, fraction).mean() == pytest.approx(fraction, abs=spread)


def test_another_seed_draws_anew(table: pd.DataFrame) -> None:
    """What one holds out says nothing of what the other does."""
    both = drawn(table, seed=1) & drawn(table, seed=2)
    assert both.mean() == pytest.approx(0.04, abs=0.01)


def test_a_larger_fraction_adds_to_a_smaller_one(table: pd.DataFrame) -> None:
    """So with a smaller one no champion is judged on what it has seen."""
    assert drawn(table, 0.3)[drawn(table, 0.2)].all()


def test_rows_stay_when_others_join(table: pd.DataFrame) -> None:
    """In another order, with a value of the index twice, and with what was never there."""
    known = drawn(table)
    others = pd.DataFrame({"length": [np.nan, 1], "count": [None, 2], "colour": [None, 3]})
    grown = pd.concat([others, table.sample(frac=1, random_state=1), table.head(100)])
    found = drawn(grown).to_numpy()
    np.testing.assert_array_equal(found[2:-100], known[grown.index[2:-100]])
    np.testing.assert_array_equal(found[-100:], known[:100])


def test_a_file_changes_nothing(table: pd.DataFrame) -> None:
    """CSV loses the last digit of a number in three; Parquet loses none, and is read in parts."""
    read = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    assert (read["length"] != table["length"]).any()
    pd.testing.assert_series_equal(drawn(read), drawn(table))


@pytest.mark.parametrize(
    ("plain", "others"),
    [
        ([1, 2], [[1, 2, None], pd.array([1, 2, None], dtype="Int64"), pd.Series([1.0, 2.0])]),
        ([0.5, np.nan], [[0.5, -np.nan], pd.array([0.5, None], dtype="Float64")]),
        (
            ["a", None],
            [
                ["a", np.nan, 3],
                pd.array(["a", None], dtype="string"),
                pd.Categorical(["a", None, "b"], categories=["b", "a"]),
            ],
        ),
        ([True, False], [[True, False, None], pd.array([True, False, None], dtype="boolean")]),
        (
            pd.to_datetime(["2026-11-22", "2026-11-23"]).as_unit("s"),
            [pd.to_datetime(["2026-11-22 00:00", "2026-11-23 00:00", "2026-11-24 10:30"])],
        ),
    ],
)
def test_the_type_of_a_column_does_not_matter(plain: Any, others: list[Any]) -> None:
    """One missing value, one more category, one later hour, and it is another."""
    for seed in range(50):
        expected = drawn(pd.DataFrame({"a": plain}), 0.5, seed).tolist()
        for other in others:
            assert drawn(pd.DataFrame({"a": other}), 0.5, seed)[:2].tolist() == expected


def test_it_is_the_same_everywhere() -> None:
    """On every machine, and with every version of pandas: written down once."""
    rows = pd.DataFrame({"a": [1.5, 2.0, np.nan, 4.0], "b": ["x", "y", None, "z"]})
    halves = {seed: drawn(rows, 0.5, seed).tolist() for seed in (1, 2)}
    assert halves == {1: [False, True, False, True], 2: [True, True, False, False]}
