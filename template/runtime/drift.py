"""Whether later data differ from those a model was trained on, column by column.

Two things have to be true before a column is called drifted: the difference is not chance, by the
two-sample Kolmogorov-Smirnov test of numbers or the chi-squared test of categories, corrected for
how many columns are looked at; and it is large enough to care about, since among a million rows
any two tables differ. What is measured is a distance from 0 to 1: for numbers the largest gap
between the two cumulative distributions, for categories half the sum of all gaps between shares.
When a mean moves by a quarter of a standard deviation, it is 0.1.

The tests take rows for independent. Rows that come in bursts, a thousand of one customer say, are
fewer than they seem, and alarm more often than `alpha`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from runtime.reference import Counts, Numbers, Tally
from runtime.watch import Thresholds

State = Literal["drift", "steady", "unknown"]

BINS = 10
"""Of the population stability index of numbers, with equal shares of the reference."""
EXPECTED = 5
"""Of fewer expected rows in a cell, a chi-squared test makes too much (Cochran, 1954)."""
LEAST = 50
"""Below so many rows, the distributions that the tests rest on are not those of the rows."""


@dataclass(frozen=True)
class Test:
    """One comparison of two samples."""

    distance: float
    """From 0, equally distributed, to 1, nothing in common."""
    p: float
    """How probable so great a distance is when nothing has changed."""
    rows: int
    """Of the later data, those that took part."""
    detectable: float
    """A distance from which on, with so many rows, nothing would be missed."""
    needed: int
    """The rows with which that would be the distance that matters, were the reference endless."""


@dataclass(frozen=True)
class Change:
    """What became of a column."""

    column: str
    state: State
    reason: str
    """In words, with what to do when the state is unknown."""
    values: Test | None
    """None when there were too few rows on either side to compare."""
    missing: Test | None
    p: float
    """The smaller of both, corrected for all that was compared."""
    psi: float | None
    psi_reading: Literal["small", "moderate", "large", ""]
    missing_before: float
    missing_now: float
    """Shares of the rows."""
    new: tuple[str, ...] = ()
    """Some categories that the reference does not have."""


@dataclass(frozen=True)
class Drift:
    """What became of a table."""

    rows: int
    columns: tuple[Change, ...]
    unwatched: tuple[str, ...] = ()
    """Columns of the reference that the later data do not have at all."""

    @property
    def state(self) -> State:
        """That of the table: of its worst column."""
        states = {change.state for change in self.columns}
        order: Sequence[State] = ("drift", "unknown", "steady")
        return next((state for state in order if state in states), "unknown")


def compare(tally: Tally, thresholds: Thresholds | None = None) -> Drift:
    """Hold later data against the reference that they were counted by."""
    options = thresholds or Thresholds()
    reference = tally.reference
    watched = [n for n, absent in tally.absent.items() if not tally.rows or absent < tally.rows]
    alpha = options.alpha / max(1, 2 * len(watched))
    tests = {
        name: (
            _values(tally, name, alpha, options.distance),
            _missing(tally, name, alpha, options.distance),
        )
        for name in watched
    }
    made = [test for pair in tests.values() for test in pair if test]
    corrected = dict(zip(map(id, made), holm([test.p for test in made]), strict=True))
    changes = []
    for name, (values, missing) in tests.items():
        column = reference.columns[name]
        both = [(test, corrected[id(test)]) for test in (values, missing) if test]
        state, reason = _verdict(tally, name, both, options)
        index = psi(*_binned(tally, name)) if values else None
        changes.append(
            Change(
                column=name,
                state=state,
                reason=reason,
                values=values,
                missing=missing,
                p=min((p for _, p in both), default=1.0),
                psi=index,
                psi_reading="" if index is None else _reading(index, options),
                missing_before=_share(column.missing, column.rows),
                missing_now=_share(tally.missing[name], tally.rows - tally.absent[name]),
                new=tuple(tally.new[name]),
            )
        )
    unwatched = tuple(name for name in reference.columns if name not in tests)
    return Drift(tally.rows, tuple(changes), unwatched)


def kolmogorov_smirnov(before: Counts, now: Counts) -> tuple[float, float]:
    """The two-sample statistic and its p-value, of counts in the same bins.

    That of `scipy.stats.ks_2samp(method="asymp")` when no two different values share a bin; never
    more than that, hence never more alarms, when some do.
    """
    n, m = int(before.sum()), int(now.sum())
    gaps = np.abs(np.cumsum(before) / n - np.cumsum(now) / m)
    distance = float(gaps.max())
    return distance, float(stats.kstwo.sf(distance, max(1, round(n * m / (n + m)))))


def chi_squared(before: Counts, now: Counts) -> tuple[float, float, int]:
    """Half the sum of the gaps between shares, the p-value, and the degrees of freedom.

    Categories of too few rows for the test count as one there, and each for itself in the distance.
    """
    n, m = int(before.sum()), int(now.sum())
    distance = float(np.abs(before / n - now / m).sum() / 2)
    smaller = min(n, m) / (n + m)
    rare = (before + now) * smaller < EXPECTED
    cells = np.array([before, now])
    pooled = np.column_stack([cells[:, ~rare], cells[:, rare].sum(axis=1)])
    pooled = pooled[:, pooled.sum(axis=0) > 0]
    if pooled.shape[1] > 1 and pooled[:, -1].sum() * smaller < EXPECTED and rare.any():
        # Even together they are too few: they join the smallest that is not.
        smallest = int(pooled[:, :-1].sum(axis=0).argmin())
        pooled[:, smallest] += pooled[:, -1]
        pooled = pooled[:, :-1]
    freedom = pooled.shape[1] - 1
    if freedom < 1:
        return distance, 1.0, 0
    return distance, float(stats.chi2_contingency(pooled, correction=False).pvalue), freedom


def psi(before: Counts, now: Counts) -> float:
    """The population stability index of counts in the same bins.

    An empty bin counts as half a row: the index of nothing would be infinite.
    """
    p = np.maximum(before, 0.5) / max(1, before.sum())
    q = np.maximum(now, 0.5) / max(1, now.sum())
    used = (before > 0) | (now > 0)
    return float(((q - p) * np.log(q / p))[used].sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm, 1979).

    Less than `alpha` among them, when nothing has changed, with a probability of at most `alpha`:
    whatever the tests have to do with each other, as columns do.
    """
    order = np.argsort(p_values, kind="stable")
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = least
    return corrected


def _values(tally: Tally, name: str, alpha: float, distance: float) -> Test | None:
    column = tally.reference.columns[name]
    before, now = np.array(column.counts), tally.counts[name]
    if min(before.sum(), now.sum()) < LEAST:
        return None
    if isinstance(column, Numbers):
        found, p = kolmogorov_smirnov(before, now)
        # Dvoretzky, Kiefer and Wolfowitz, with Massart's constant.
        critical = math.sqrt(-math.log(alpha / 2) / 2)
    else:
        found, p, freedom = chi_squared(before, now)
        critical = _critical(alpha, freedom)
    return _test(found, p, before, now, critical, distance)


def _missing(tally: Tally, name: str, alpha: float, distance: float) -> Test | None:
    column = tally.reference.columns[name]
    before = np.array([sum(column.counts), column.missing])
    now = np.array([int(tally.counts[name].sum()), tally.missing[name]])
    if min(before.sum(), now.sum()) < LEAST:
        return None
    found = float(np.abs(before / before.sum() - now / now.sum()).sum() / 2)
    together = before + now
    if not together.all():
        p = 1.0
    elif together.min() * min(before.sum(), now.sum()) / together.sum() < EXPECTED:
        p = float(stats.fisher_exact([before, now]).pvalue)
    else:
        p = float(stats.chi2_contingency([before, now], correction=False).pvalue)
    return _test(found, p, before, now, _critical(alpha, 1), distance)


def _critical(alpha: float, freedom: int) -> float:
    """What times the root of the rows a distance between shares is certain to be significant.

    The statistic is at least four times the rows and the squared distance (Cauchy and Schwarz).
    """
    return math.sqrt(float(stats.chi2.isf(alpha, max(1, freedom))) / 4)


def _test(
    found: float, p: float, before: Counts, now: Counts, critical: float, distance: float
) -> Test:
    n, m = int(before.sum()), int(now.sum())
    return Test(
        distance=found,
        p=p,
        rows=m,
        detectable=min(1.0, critical / math.sqrt(n * m / (n + m))),
        needed=max(LEAST, math.ceil((critical / distance) ** 2)),
    )


def _verdict(
    tally: Tally, name: str, tests: Sequence[tuple[Test, float]], options: Thresholds
) -> tuple[State, str]:
    column = tally.reference.columns[name]
    present = tally.rows - tally.absent[name]
    for test, p in tests:
        if p < options.alpha and test.distance >= options.distance:
            what = "values" if test is tests[0][0] and len(tests) > 1 else "missing values"
            return "drift", f"{what}: distance {test.distance:.2f}, p {p:.2g}"
    if column.rows < LEAST:
        return "unknown", f"the reference has {column.rows} rows, {LEAST} are needed"
    if present < LEAST:
        return "unknown", f"{present} rows, {LEAST} are needed"
    if not sum(column.counts) and not tally.counts[name].any():
        return "steady", "nothing but missing values, as before"
    needed = max((test.needed for test, _ in tests), default=LEAST)
    rows = min((test.rows for test, _ in tests), default=present)
    if len(tests) < 2 or rows < needed:
        rows = int(tally.counts[name].sum())
        return "unknown", f"{rows} rows with a value, {needed} are needed"
    blind = max(test.detectable for test, _ in tests)
    seen = f"; with so few rows, less than {blind:.2f} may be missed"
    worst = max(test.distance for test, _ in tests)
    return "steady", f"distance {worst:.2f}{seen if blind > options.distance else ''}"


def _binned(tally: Tally, name: str) -> tuple[Counts, Counts]:
    """The counts before and now, in the bins of a population stability index."""
    column = tally.reference.columns[name]
    before, now = np.array(column.counts), tally.counts[name]
    if not isinstance(column, Numbers):
        return before, now
    middle = (np.cumsum(before) - before / 2) / before.sum()
    place: NDArray[np.int64] = np.minimum(np.floor(middle * BINS), BINS - 1).astype(np.int64)
    return _grouped(place, before), _grouped(place, now)


def _grouped(place: NDArray[np.int64], counts: Counts) -> Counts:
    sums = np.zeros(BINS, dtype=np.int64)
    np.add.at(sums, place, counts)
    return sums


def _reading(index: float, options: Thresholds) -> Literal["small", "moderate", "large"]:
    if index < options.psi_moderate:
        return "small"
    return "moderate" if index < options.psi_large else "large"


def _share(some: int, whole: int) -> float:
    return some / whole if whole else 0.0
