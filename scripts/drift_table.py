"""`make drift-table`: docs/reference/drift.md, how often drift is alarmed falsely, and found.

Both are simulated, with the code that projects run and its default thresholds.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scripts import screen
from scripts.repository import ROOT

sys.path.append(str(Path(ROOT) / "template"))

from runtime.drift import Drift, compare
from runtime.reference import Reference, Tally
from runtime.watch import Thresholds

PAGE = "docs/reference/drift.md"
SEED = 7
REFERENCE_ROWS = 5000
UNSHIFTED = 1000
REPEATED = 200
ROWS = (100, 500, 1000, 5000)
SHIFTS = (0.1, 0.25, 0.4, 0.5, 1.0)
"""Of the mean of one column, in standard deviations."""
LETTERS = ("a", "b", "c", "d", "e")
SHARES = (0.4, 0.3, 0.2, 0.08, 0.02)


@dataclass(frozen=True)
class Alarms:
    """How often something was alarmed, of how many samples."""

    rows: int
    samples: int
    significant: int
    """Samples in which a corrected p-value was below `alpha`."""
    alarmed: int
    """Those in which the distance was large enough as well."""


def table(random: np.random.Generator, rows: int) -> pd.DataFrame:
    """Ten columns of several kinds: some that go together, ties, gaps, rare categories."""
    normal = random.normal(size=(rows, 3))
    found = pd.DataFrame(normal, columns=["normal", "other", "third"])
    found["sum"] = normal.sum(axis=1)
    found["skewed"] = np.exp(random.normal(size=rows))
    found["count"] = random.poisson(3, rows)
    found["gaps"] = np.where(random.random(rows) < 0.1, np.nan, normal[:, 0])
    found["letter"] = random.choice(LETTERS, rows, p=SHARES)
    found["truth"] = random.random(rows) < 0.3
    found["constant"] = 5
    return found


def compared(
    seed: int, samples: int, rows: int, shift: float, settings: Thresholds
) -> Iterator[Drift]:
    """Compare so many tables with references of their own; the first column is shifted."""
    random = np.random.default_rng([seed, rows, round(shift * 1000)])
    for _ in range(samples):
        reference = Reference.of(table(random, REFERENCE_ROWS))
        later = table(random, rows)
        later["normal"] += shift
        yield compare(Tally.of(reference, [later]), settings)


def alarms(seed: int, samples: int, rows: int, settings: Thresholds) -> Alarms:
    """Count the alarms about tables in which nothing has changed."""
    significant = alarmed = 0
    for drift in compared(seed, samples, rows, 0.0, settings):
        significant += min(change.p for change in drift.columns) < settings.alpha
        alarmed += drift.state == "drift"
    return Alarms(rows, samples, significant, alarmed)


def power(seed: int, samples: int, rows: int, shift: float, settings: Thresholds) -> float:
    """Give the share of tables in which the shifted column, one of ten, was found."""
    found = [
        drift.columns[0].state == "drift"
        for drift in compared(seed, samples, rows, shift, settings)
    ]
    return float(sum(found) / samples)


def page() -> str:
    """Simulate both and write them as Markdown."""
    settings = Thresholds()
    lines = [
        "# How often drift is alarmed, and found",
        "",
        "Simulated by `make drift-table` with a project's defaults: `alpha` "
        f"{settings.alpha}, `distance` {settings.distance}. A table has ten columns: normal, "
        "skewed, counts, gaps, categories, truth values, a constant; some go together. Each is "
        f"compared with a reference of its own, of {REFERENCE_ROWS:,} rows.",
        "",
        "## Nothing has changed",
        "",
        f"{UNSHIFTED:,} tables of each size. At most {settings.alpha:.0%} of them may be "
        "significant; alarmed are those where the distance matters too.",
        "",
        "| rows | significant | alarmed |",
        "|---:|---:|---:|",
    ]
    for rows in ROWS:
        found = alarms(SEED, UNSHIFTED, rows, settings)
        lines.append(
            f"| {rows:,} | {found.significant / found.samples:.1%} "
            f"| {found.alarmed / found.samples:.1%} |"
        )
    lines += [
        "",
        "## One column of ten has moved",
        "",
        f"The share of {REPEATED} tables in which it was found, by how far its mean has moved in "
        "standard deviations, and the distance that this is.",
        "",
        "| moved by | distance | " + " | ".join(f"{rows:,} rows" for rows in ROWS) + " |",
        "|---:|---:|" + "---:|" * len(ROWS),
    ]
    for shift in SHIFTS:
        shares = [power(SEED, REPEATED, rows, shift, settings) for rows in ROWS]
        cells = " | ".join(f"{share:.0%}" for share in shares)
        lines.append(f"| {shift} | {distance_of(shift):.2f} | {cells} |")
    lines += [
        "",
        "What is below the distance that matters is not called drift, however many rows show it.",
        "",
    ]
    return "\n".join(lines)


def distance_of(shift: float) -> float:
    """Give the largest gap between a normal distribution and the same one, moved."""
    from scipy import stats

    return float(2 * stats.norm.cdf(shift / 2) - 1)


def drift_table() -> None:
    """Write the page anew."""
    (Path(ROOT) / PAGE).write_text(page(), "utf-8")
    screen.what_next(f"git diff {PAGE}")


if __name__ == "__main__":
    screen.start(drift_table)
