"""What drift costs, beside reading the same Parquet file: part of `make bench`.

`python -m scripts.bench_drift` streams a hundred million rows, which takes minutes.

A process each, imports included: one reads the whole table, the other counts it in parts and
compares. The reference is there before, as it is beside a registered model.
"""

import math
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from scripts import screen
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
STREAM = """
import sys
from pathlib import Path
from runtime import datasets
from runtime.drift import compare
from runtime.reference import Reference, Tally

reference = Reference.from_json(Path(sys.argv[2]).read_text())
parts = (part for _ in range(int(sys.argv[3])) for part in datasets.parts(sys.argv[1]))
print(compare(Tally.of(reference, parts)).state)
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


def streamed(rows: Annotated[int, typer.Argument(help="Rows to count.")] = 100_000_000) -> None:
    """Count a table of any length: a file of a million rows, as often as it takes."""
    with tempfile.TemporaryDirectory(prefix="drift-") as name:
        folder, size = Path(name), min(rows, ROWS[-1])
        data, reference = folder / "table.parquet", folder / "reference.json"
        write(data, size)
        there = {**os.environ, "PYTHONPATH": str(ROOT / "template")}
        measured([sys.executable, "-c", PROFILE, data, reference], folder, there)
        times = str(math.ceil(rows / size))
        command: list[str | Path] = [sys.executable, "-c", STREAM, data, reference, times]
        with screen.console.status(f"Counting {rows:,} rows"):
            seconds, megabytes = measured(command, folder, there)
    screen.say(
        f"{rows:,} rows x {COLUMNS} columns: {seconds:.0f} s, {rows / seconds / 1e6:.2f} million "
        f"rows a second, {megabytes:.0f} MB of memory."
    )


if __name__ == "__main__":
    screen.start(streamed)
