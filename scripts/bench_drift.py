"""What drift costs, beside reading the same Parquet file: part of `make bench`.

A process each, imports included: one reads the whole table, the other counts it in parts and
compares. The reference is there before, as it is beside a registered model.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table

from scripts.bench_updates import measured
from scripts.repository import ROOT

ROWS = (100_000, 1_000_000)
COLUMNS = 30
GROUP = 100_000
"""Rows that are made, and lie in the file, together."""
READ = "import sys, pandas; pandas.read_parquet(sys.argv[1])"
DRIFT = """
import sys
from pathlib import Path
from runtime import datasets
from runtime.drift import compare
from runtime.reference import Reference, Tally

reference = Reference.from_json(Path(sys.argv[2]).read_text())
print(compare(Tally.of(reference, datasets.parts(sys.argv[1]))).state)
"""
PROFILE = """
import sys
from pathlib import Path
from runtime import datasets
from runtime.reference import Reference

first = next(datasets.parts(sys.argv[1]))
Path(sys.argv[2]).write_text(Reference.of(first).to_json())
"""


@dataclass(frozen=True)
class Cost:
    """What reading a table takes, and what finding drift in it does."""

    rows: int
    read_seconds: float
    drift_seconds: float
    read_megabytes: float
    drift_megabytes: float
    """The most memory that the process had."""

    @property
    def ratio(self) -> float:
        """How many times reading it takes to find drift."""
        return self.drift_seconds / self.read_seconds


def costs(
    folder: Path, rounds: int, environment: Mapping[str, str], sizes: Sequence[int] = ROWS
) -> list[Cost]:
    """Measure tables of several sizes, both ways in turns."""
    there = {**environment, "PYTHONPATH": str(ROOT / "template")}
    found = []
    for rows in sizes:
        data, reference = folder / f"{rows}.parquet", folder / f"{rows}.json"
        write(data, rows)
        measured([sys.executable, "-c", PROFILE, data, reference], folder, there)
        taken = [
            (
                measured([sys.executable, "-c", READ, data], folder, there),
                measured([sys.executable, "-c", DRIFT, data, reference], folder, there),
            )
            for _ in range(rounds)
        ]
        (read, drift) = (
            [statistics.median(column) for column in zip(*way, strict=True)]
            for way in zip(*taken, strict=True)
        )
        found.append(Cost(rows, read[0], drift[0], read[1], drift[1]))
        data.unlink()
    return found


def write(path: Path, rows: int) -> None:
    """Write a table of numbers, with a few columns of categories, without holding it whole."""
    random = np.random.default_rng(7)
    letters = np.array(list("abcdefgh"))
    writer = None
    for start in range(0, rows, GROUP):
        size = min(GROUP, rows - start)
        columns = {
            f"c{number}": random.choice(letters, size)
            if number % 10 == 9
            else random.normal(size=size)
            for number in range(COLUMNS)
        }
        part = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, part.schema)
        writer.write_table(part)
    if writer:
        writer.close()


def table(found: Sequence[Cost]) -> Table:
    """Show what drift costs, beside reading."""
    shown = Table("drift", box=None, pad_edge=False, header_style="dim")
    for name in ("seconds", "reading", "ratio", "MB", "reading MB"):
        shown.add_column(name, justify="right")
    for cost in found:
        shown.add_row(
            f"{cost.rows:,} x {COLUMNS}",
            f"{cost.drift_seconds:.2f}",
            f"{cost.read_seconds:.2f}",
            f"{cost.ratio:.2f}",
            f"{cost.drift_megabytes:.0f}",
            f"{cost.read_megabytes:.0f}",
        )
    return shown
