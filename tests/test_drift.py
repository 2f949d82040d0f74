"""Drift is what scipy and the literature say, seldom alarmed falsely, and found when there."""

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from runtime.drift import Drift, chi_squared, compare, holm, kolmogorov_smirnov, psi
from runtime.reference import POINTS, VALUES, Reference, Tally
from runtime.watch import Thresholds
from scipy import stats

from scripts import drift_table

DEFAULTS = Thresholds()
ENOUGH = 2000


def held(before: Any, now: Any, options: Thresholds = DEFAULTS) -> Drift:
    """Compare one column."""
    reference = Reference.of(pd.DataFrame({"x": before}))
    return compare(Tally.of(reference, [pd.DataFrame({"x": now})]), options)


def counted(before: Any, now: Any) -> tuple[Any, Any]:
    """Count one column before and now, in the same bins."""
    reference = Reference.of(pd.DataFrame({"x": before}))
    tally = Tally.of(reference, [pd.DataFrame({"x": now})])
    return np.array(reference.columns["x"].counts), tally.counts["x"]


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_ks_is_that_of_scipy(data: st.DataObject) -> None:
    """Exactly so while the reference has few distinct numbers, whatever the later ones are."""
    numbers = st.floats(-1e6, 1e6) | st.integers(-5, 5).map(float)
    before = data.draw(st.lists(numbers, min_size=2, max_size=POINTS))
    now = data.draw(st.lists(numbers, min_size=2, max_size=400))
    distance, p = kolmogorov_smirnov(*counted(before, now))
    expected = stats.ks_2samp(before, now, method="asymp")
    assert distance == pytest.approx(expected.statistic, abs=1e-12)
    assert p == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.1, 0.5])
def test_ks_of_many_numbers_is_never_more_than_that_of_scipy(shift: float) -> None:
    """It is known to one part in as many as there are points."""
    random = np.random.default_rng(3)
    before, now = random.normal(size=20_000), random.normal(shift, 1, 10_000)
    distance, p = kolmogorov_smirnov(*counted(before, now))
    expected = stats.ks_2samp(before, now, method="asymp")
    assert expected.statistic - 1 / POINTS <= distance <= expected.statistic
    assert p >= expected.pvalue


def test_chi_squared_is_that_of_scipy() -> None:
    """Where no category is rare."""
    before, now = np.array([400, 300, 200, 0]), np.array([150, 80, 60, 0])
    distance, p, freedom = chi_squared(before, now)
    expected = stats.chi2_contingency([before[:3], now[:3]], correction=False)
    assert (p, freedom) == (pytest.approx(expected.pvalue), expected.dof)
    assert distance == pytest.approx(np.abs(before / 900 - now / 290).sum() / 2)


def test_chi_squared_of_rare_categories_has_its_level() -> None:
    """A hundred categories of hardly a row each: they count as one, and alarm no more often."""
    random = np.random.default_rng(5)
    shares = np.r_[[0.3] * 3, [0.001] * 100]
    found = [
        chi_squared(random.multinomial(1000, shares), random.multinomial(500, shares))[1] < 0.05
        for _ in range(1000)
    ]
    assert 0.02 < np.mean(found) < 0.075


def test_psi_of_a_moved_normal_distribution() -> None:
    """The symmetric divergence of Kullback and Leibler: the squared shift (Jeffreys, 1948)."""
    random = np.random.default_rng(1)
    for shift in (0.1, 0.3, 0.5):
        found = held(random.normal(size=200_000), random.normal(shift, 1, 200_000))
        # Ten bins see a little less than the whole.
        index = found.columns[0].psi
        assert index is not None
        assert 0.9 * shift**2 < index < 1.02 * shift**2


def test_psi_of_nothing_is_distributed_as_published() -> None:
    """Bins less one, times the sum of the inverse rows, on average (Yurdakul, 2018)."""
    random = np.random.default_rng(2)
    n, m, bins = 1000, 500, 10
    shares = np.full(bins, 1 / bins)
    found = [psi(random.multinomial(n, shares), random.multinomial(m, shares)) for _ in range(2000)]
    scaled = np.array(found) / (1 / n + 1 / m)
    assert np.mean(scaled) == pytest.approx(bins - 1, rel=0.06)
    assert np.mean(scaled > stats.chi2.isf(0.05, bins - 1)) == pytest.approx(0.05, abs=0.02)


def test_holm_as_published() -> None:
    """The step-down procedure (Holm, 1979), on numbers that can be followed by hand."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_lies_between_nothing_and_bonferroni(p_values: list[float]) -> None:
    corrected = holm(p_values)
    for p, one in zip(p_values, corrected, strict=True):
        assert p <= one <= min(1.0, p * len(p_values) * (1 + 1e-12))


@pytest.mark.parametrize("alpha", [0.01, 0.2])
def test_false_alarms_are_as_rare_as_stated(alpha: float) -> None:
    """Over 1,000 tables of ten columns in which nothing has changed."""
    samples = 1000 if alpha == DEFAULTS.alpha else 200
    options = Thresholds(alpha=alpha)
    found = drift_table.alarms(11, samples, 500, options)
    assert found.significant <= stats.binom.ppf(0.999, samples, alpha)
    assert found.alarmed <= found.significant
    # The level is used, not only kept.
    assert alpha == DEFAULTS.alpha or found.significant > 0.02 * samples


def test_a_shift_of_half_a_standard_deviation_is_found() -> None:
    """Of one column of ten, in 1,000 rows: in 99 of 100 tables at least."""
    assert drift_table.power(13, 100, 1000, 0.5, DEFAULTS) >= 0.99


def test_a_million_rows_alarm_over_nothing() -> None:
    """A hundredth of a standard deviation is certain, and does not matter."""
    random = np.random.default_rng(4)
    (change,) = held(random.normal(size=10**6), random.normal(0.01, 1, 10**6)).columns
    assert (change.state, change.p < DEFAULTS.alpha) == ("steady", True)


SOME = st.sampled_from(
    [math.nan, math.inf, -math.inf, None, 0, 1, -1, 0.5, 10**9, 2**53 + 1, 2**63 - 1, -(2**63)]
)
COLUMN = st.one_of(
    st.lists(st.floats(), max_size=80),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=80),
    st.lists(st.booleans(), max_size=80),
    st.lists(st.none(), max_size=80),
    st.lists(st.text(max_size=3) | st.none(), max_size=80),
    st.lists(st.datetimes().map(pd.Timestamp), max_size=80),
    st.lists(SOME, max_size=80),
    st.lists(SOME | st.text(max_size=3) | st.integers(), max_size=80),
    st.sampled_from([7, "a", math.nan, True]).map(lambda value: [value] * 70),
)


@given(COLUMN, COLUMN)
@settings(max_examples=300, deadline=None)
def test_any_column_is_compared_with_any(before: list[Any], now: list[Any]) -> None:
    """Nothing raises, all figures are in range, and a column does not drift from itself."""
    for other in (now, before):
        (change,) = held(before, other).columns
        assert 0 <= change.p <= 1
        assert 0 <= change.missing_now <= 1
        for test in (change.values, change.missing):
            assert test is None or 0 <= test.distance <= 1 + 1e-12
        assert change.psi is None or -1e-9 <= change.psi < math.inf
        if len(other) < 50:
            assert (change.state, bool(change.reason)) == ("unknown", True)
    assert change.state != "drift"


@given(COLUMN, COLUMN, st.integers(0, 80))
@settings(max_examples=100, deadline=None)
def test_parts_are_counted_as_the_whole(before: list[Any], now: list[Any], cut: int) -> None:
    """In any order; a reference survives its file."""
    later = pd.DataFrame({"x": now})
    assume(len(later))
    made = Reference.of(pd.DataFrame({"x": before}))
    reference = Reference.from_json(made.to_json())
    assert reference == made
    assert reference.columns["x"].rows == len(before)
    whole = Tally.of(reference, [later])
    one = Tally.of(reference, [later[cut:], later[:cut]])
    assert (one.rows, one.missing) == (whole.rows, whole.missing)
    assert (one.counts["x"] == whole.counts["x"]).all()
    assert compare(one).columns[0].p == compare(whole).columns[0].p


@pytest.mark.parametrize(
    ("before", "now"),
    [
        pytest.param([5] * ENOUGH, [6] * ENOUGH, id="a constant that is another"),
        pytest.param([5] * ENOUGH, [4.9] * ENOUGH, id="a constant that is less"),
        pytest.param([0, 1] * ENOUGH, [0.5] * ENOUGH, id="numbers between those known"),
        pytest.param(
            range(10**9, 10**9 + ENOUGH),
            range(10**9 + 500, 10**9 + 500 + ENOUGH),
            id="billions, moved by a few hundred",
        ),
        pytest.param([1.0] * ENOUGH, [1.0, None] * ENOUGH, id="half is missing"),
        pytest.param([None, 1.0] * ENOUGH, [1.0] * ENOUGH, id="nothing is missing any more"),
        pytest.param([1.0, 2] * ENOUGH, ["1.0", "?"] * ENOUGH, id="text in a column of numbers"),
        pytest.param(list("ab") * ENOUGH, list("abc") * ENOUGH, id="a new category"),
        pytest.param([True, False] * ENOUGH, [True] * ENOUGH, id="truth values"),
        pytest.param(
            pd.date_range("2020-01-01", periods=ENOUGH, freq="h"),
            pd.date_range("2021-01-01", periods=ENOUGH, freq="h"),
            id="another year",
        ),
    ],
)
def test_it_drifts(before: Any, now: Any) -> None:
    assert held(before, now).state == "drift"


def test_new_categories_are_named() -> None:
    (change,) = held(list("ab") * ENOUGH, list("abz") * ENOUGH).columns
    assert change.new == ("z",)


def test_more_categories_than_are_counted() -> None:
    """Identifiers: the rarest are one, and none of them is called new."""
    (change,) = held([f"u{n}" for n in range(ENOUGH)], [f"v{n}" for n in range(ENOUGH)]).columns
    assert change.new == ()
    assert change.values is not None
    assert change.values.distance == pytest.approx(VALUES / ENOUGH)


@pytest.mark.parametrize("rows", [0, 1, 49, 200])
def test_too_few_rows_are_said(rows: int) -> None:
    """With how many are needed; so many then are enough."""
    random = np.random.default_rng(6)
    before = random.normal(size=10**5)
    (change,) = held(before, random.normal(size=rows)).columns
    needed = 50 if rows < 50 else change.values.needed if change.values else 0
    assert change.state == "unknown"
    assert re.match(rf"{rows} rows.*, {needed} are needed", change.reason)
    if rows >= 50:
        assert held(before, random.normal(size=needed)).state == "steady"


def test_few_rows_that_are_far_off_are_not_unknown() -> None:
    """What is certain is said, however few they are."""
    random = np.random.default_rng(8)
    assert held(random.normal(size=ENOUGH), random.normal(3, 1, 60)).state == "drift"


def test_a_column_that_is_not_there() -> None:
    reference = Reference.of(pd.DataFrame({"x": range(ENOUGH), "y": range(ENOUGH)}))
    drift = compare(Tally.of(reference, [pd.DataFrame({"x": range(ENOUGH)})]))
    assert [(change.column, change.state) for change in drift.columns] == [("x", "steady")]
    assert (drift.unwatched, drift.state) == (("y",), "steady")


def test_nothing_at_all() -> None:
    """No rows, or none of the columns: nothing is known, and nothing raises."""
    reference = Reference.of(pd.DataFrame({"x": range(ENOUGH)}))
    drift = compare(Tally.of(reference, []))
    assert (drift.state, drift.unwatched) == ("unknown", ())
    assert drift.columns[0].reason == "0 rows, 50 are needed"
    drift = compare(Tally.of(reference, [pd.DataFrame({"z": range(ENOUGH)})]))
    assert (drift.state, drift.columns, drift.unwatched) == ("unknown", (), ("x",))


@given(COLUMN, COLUMN)
@example([-1.7e308, 1.7e308], [0.0, 1.0])
@settings(max_examples=100, deadline=None)
def test_a_picture_shows_all_rows_that_have_a_value(before: list[Any], now: list[Any]) -> None:
    """Shares that add up to 1, over places that are the same before and now."""
    column = Reference.of(pd.DataFrame({"x": before})).columns["x"]
    counts, _ = column.tally(pd.Series(now, name="x"))
    places: list[Any] = []
    for each in (np.array(column.counts), counts):
        where, shares = column.histogram(each)
        if where:
            assert sum(shares) == pytest.approx(1)
            assert min(shares) >= 0
            assert len(where) == len(shares) + (column.kind == "numbers")
            places.append(where)
    assert all(where == places[0] for where in places)
    if column.kind == "numbers" and places:
        assert (np.diff(places[0]) >= 0).all()
        assert np.isfinite(places[0]).all()


def test_a_small_reference_says_what_it_cannot_see() -> None:
    random = np.random.default_rng(9)
    (change,) = held(random.normal(size=200), random.normal(size=ENOUGH)).columns
    assert change.state == "steady"
    assert "may be missed" in change.reason


def test_a_reference_keeps_no_row() -> None:
    """Only its smallest and largest numbers, some between, and its frequent values; few bytes."""
    random = np.random.default_rng(10)
    table = pd.DataFrame(random.normal(size=(100_000, 30))).rename(columns=str)
    assert len(Reference.of(table).to_json()) < 30 * 10_000
