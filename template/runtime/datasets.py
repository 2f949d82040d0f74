"""Data sets between steps: Parquet, with what is needed to know them again."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd


def write(frame: pd.DataFrame, path: str) -> dict[str, Any]:
    """Write a frame and return its `sha256` (of the file) and number of `rows`.

    The index is kept: it says which row of the source an example was.
    """
    frame.to_parquet(path)
    with Path(path).open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "rows": len(frame)}


def read(path: str) -> pd.DataFrame:
    """Read a frame that `write` wrote, from a path or a URI."""
    with _opened(path) as source:
        return pd.read_parquet(source)


def parts(
    path: str, *, columns: list[str] | None = None, rows: int = 65_536
) -> Iterator[pd.DataFrame]:
    """Read a Parquet file, from a path or a URI, so many rows at a time.

    Of `columns`, those that the file does not have are left out.
    """
    from pyarrow.parquet import ParquetFile

    with _opened(path) as source, ParquetFile(source) as table:
        known = table.schema_arrow.names
        wanted = None if columns is None else [name for name in columns if name in known]
        # Over all groups at once, PyArrow keeps what it has read.
        for group in range(table.num_row_groups):
            for batch in table.iter_batches(batch_size=rows, row_groups=[group], columns=wanted):
                yield batch.to_pandas()


def write_parts(frame: pd.DataFrame, folder: str, *, rows: int) -> list[str]:
    """Write a frame as Parquet files of so many rows, and return their names in order."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    count = -(-len(frame) // rows)
    names = [f"part-{number:05d}-of-{count:05d}.parquet" for number in range(count)]
    for number, name in enumerate(names):
        frame.iloc[number * rows : (number + 1) * rows].to_parquet(Path(folder) / name)
    return names


def publish(frame: pd.DataFrame, uri: str) -> str:
    """Write a frame to a path or URI as one whole, and return it: readers never see half of it."""
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(uri)
    filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
    with filesystem.transaction, filesystem.open(path, "wb") as file:
        frame.to_parquet(file)
    return uri


def sample(frame: pd.DataFrame, rows: int = 20) -> list[dict[str, Any]]:
    """The first rows as JSON can hold them: what a model is asked with before it serves."""
    head = frame.head(rows).astype(object)
    plain = head.where(head.notna(), None).to_dict("records")
    found: list[dict[str, Any]] = json.loads(json.dumps(plain, default=str))
    return found


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """A path as it is, or the file at a URI."""
    if "://" not in path:
        yield path
        return
    import fsspec

    with fsspec.open(path, "rb") as file:
        yield file
