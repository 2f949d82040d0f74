"""The payload log: what the model was asked and what it answered, as Parquet files of a day each.

A row for each row that was asked: `request_id`, `row` (its number in the request), `time`,
`model`, `model_id`; then `input <column>` for every column that config/payloads.yaml lists, and
`output <name>` for what was answered. A file is written once and whole. runtime/sink.py writes
them; `read` is for whoever compares live data with those of the training.
"""

import io
import json
import re
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import Field

from runtime.errors import ProjectError
from runtime.settings import Settings
from runtime.sources import EXTRAS

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

INPUT, OUTPUT = "input ", "output "
KEYS = ("request_id", "row", "time", "model", "model_id")
MEGABYTE = 10**6
FILE = re.compile(r"day=(\d{4}-\d\d-\d\d)/[^/]+\.parquet$")
PART = ".part"


class PayloadSettings(Settings):
    """config/payloads.yaml: what is kept, and for how long. As it is here, nothing is."""

    sampling: float = Field(default=0.0, ge=0, le=1)
    """The share of requests that are kept: 0 none, 1 all."""
    columns: list[str] = Field(default_factory=list)
    """The columns of the model's input that are kept; answers always are."""
    retention_days: int = Field(default=30, ge=1)
    """A day's rows are removed when so many days have passed since."""
    max_megabytes: int = Field(default=1000, ge=1)
    """Beyond it, the oldest files are removed."""
    flush_rows: int = Field(default=1000, ge=1)
    """So many rows are written at once. Fewer wait in memory, and are lost with it."""
    flush_seconds: float = Field(default=60, gt=0)
    """Rows wait no longer than this."""


@dataclass(frozen=True)
class Exchange:
    """A request and its answer, without what is not kept. Lists have a value for each row."""

    request_id: str
    time: datetime
    model: str
    model_id: str
    rows: int
    inputs: Mapping[str, list[Any]] = field(default_factory=dict)
    outputs: Mapping[str, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Payloads:
    """What was kept. The three tables have the same rows, the oldest first."""

    asked: "pd.DataFrame"
    """`request_id`, `row`, `time` (UTC), `model`, `model_id`."""
    inputs: "pd.DataFrame"
    """The columns that were kept; one that a request did not have is empty there."""
    outputs: "pd.DataFrame"


class PayloadStore:
    """A folder, or a URI that fsspec can write, with a folder for each day."""

    def __init__(self, uri: str) -> None:
        """Open it.

        Raises:
            ProjectError: what reads such a URI is not installed.
        """
        import fsspec

        try:
            self._files, root = fsspec.core.url_to_fs(uri)
        except (ImportError, ValueError) as error:
            extra = EXTRAS.get(uri.partition("://")[0])
            what = f'"runtime[{extra}]"' if extra else "the fsspec package for it"
            raise ProjectError(
                f"the payload log {uri!r} needs a driver ({error}): add {what} to the group "
                "`tools` in pyproject.toml, then `make setup`"
            ) from None
        self.uri = uri
        self._root = root.rstrip("/")

    def prepare(self) -> None:
        """Make sure that something can be written.

        Raises:
            ProjectError: it cannot.
        """
        probe = f"{self._root}/.probe-{uuid.uuid4().hex}"
        try:
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(probe, b"")
            self._files.rm_file(probe)
            # What a killed sink has left half written; there is one sink to a log.
            for path in self._files.glob(f"{self._root}/day=*/*{PART}"):
                self._files.rm_file(path)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ProjectError(
                f"the payload log {self.uri!r} cannot be written: {reason}"
            ) from error

    def write(self, exchanges: Sequence[Exchange]) -> int:
        """Write a file for each day, and return the number of rows."""
        by_day: dict[date, list[Exchange]] = {}
        for exchange in exchanges:
            by_day.setdefault(exchange.time.astimezone(UTC).date(), []).append(exchange)
        for day, them in by_day.items():
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
            name = f"day={day.isoformat()}/{stamp}-{uuid.uuid4().hex[:8]}.parquet"
            self._write(f"{self._root}/{name}", table(them))
        return sum(exchange.rows for exchange in exchanges)

    def tidy(self, settings: PayloadSettings, today: date) -> int:
        """Remove what is too old, then the oldest of what is too much; return how many files."""
        removed, kept, total = [], [], 0
        for path, day, size in self._listed():
            if day <= today - timedelta(days=settings.retention_days):
                removed.append(path)
            else:
                kept.append((path, size))
                total += size
        for path, size in kept:
            if total <= settings.max_megabytes * MEGABYTE:
                break
            removed.append(path)
            total -= size
        for path in removed:
            self._remove(path)
        return len(removed)

    def forget(self, request_ids: Collection[str]) -> int:
        """Remove the rows of these requests from every file, and return how many there were."""
        import pyarrow as pa
        import pyarrow.compute as pc

        gone = 0
        for path, _, _ in self._listed():
            known = self._table(path)
            keep = pc.invert(pc.is_in(known["request_id"], value_set=pa.array([*request_ids])))
            left = known.filter(keep)
            if left.num_rows == known.num_rows:
                continue
            gone += known.num_rows - left.num_rows
            if left.num_rows:
                self._write(path, left)
            else:
                self._remove(path)
        return gone

    def read(self, *, since: datetime | None = None, until: datetime | None = None) -> Payloads:
        """What was asked from `since` on and before `until`; without them, all there is.

        A request that was written twice is read once.
        """
        import pandas as pd

        tables = []
        for path, day, _ in self._listed():
            early = since and day < since.astimezone(UTC).date()
            late = until and day > until.astimezone(UTC).date()
            if not (early or late):
                tables.append(self._table(path))
        found = joined(tables).to_pandas() if tables else pd.DataFrame(columns=[*KEYS])
        if since:
            found = found[found["time"] >= since]
        if until:
            found = found[found["time"] < until]
        order = ["time", "request_id", "row"]
        found = found.sort_values(order, kind="stable").drop_duplicates(["request_id", "row"])
        found = found.reset_index(drop=True)
        return Payloads(
            asked=found[[*KEYS]], inputs=_part(found, INPUT), outputs=_part(found, OUTPUT)
        )

    def _listed(self) -> list[tuple[str, date, int]]:
        """Path, day and bytes of each of its files, the oldest first; others are not its own."""
        self._files.invalidate_cache()
        if not self._files.exists(self._root):
            return []
        found = []
        for path, about in self._files.find(self._root, detail=True).items():
            matched = FILE.search(path)
            if matched:
                found.append((path, date.fromisoformat(matched[1]), int(about["size"] or 0)))
        return sorted(found)

    def _table(self, path: str) -> "pa.Table":
        import pyarrow.parquet as pq

        return pq.read_table(io.BytesIO(self._files.cat_file(path)))

    def _write(self, path: str, rows: "pa.Table") -> None:
        import pyarrow.parquet as pq

        content = io.BytesIO()
        pq.write_table(rows, content)
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        if "file" not in self._files.protocol:
            # An object store has an object whole or not at all.
            self._files.pipe_file(path, content.getvalue())
            return
        self._files.pipe_file(f"{path}{PART}", content.getvalue())
        self._files.mv(f"{path}{PART}", path)

    def _remove(self, path: str) -> None:
        self._files.rm_file(path)
        folder = path.rpartition("/")[0]
        if "file" in self._files.protocol and not self._files.ls(folder):
            self._files.rmdir(folder)


def table(exchanges: Sequence[Exchange]) -> "pa.Table":
    """A row for each row that was asked."""
    import pyarrow as pa

    def all_of(values: Iterable[list[Any]]) -> list[Any]:
        return [value for some in values for value in some]

    columns = {
        "request_id": pa.array(all_of([e.request_id] * e.rows for e in exchanges), pa.string()),
        "row": pa.array(all_of(list(range(e.rows)) for e in exchanges), pa.int32()),
        "time": pa.array(all_of([e.time] * e.rows for e in exchanges), pa.timestamp("ms", "UTC")),
        "model": pa.array(all_of([e.model] * e.rows for e in exchanges), pa.string()),
        "model_id": pa.array(all_of([e.model_id] * e.rows for e in exchanges), pa.string()),
    }
    for prefix, part in ((INPUT, "inputs"), (OUTPUT, "outputs")):
        names = dict.fromkeys(name for e in exchanges for name in getattr(e, part))
        for name in names:
            values = all_of(getattr(e, part).get(name) or [None] * e.rows for e in exchanges)
            columns[f"{prefix}{name}"] = _array(values)
    return pa.table(columns)


def joined(tables: Sequence["pa.Table"]) -> "pa.Table":
    """Tables below each other; a column whose types have nothing in common is text."""
    import pyarrow as pa

    kinds: dict[str, set[Any]] = {}
    for some in tables:
        for each in some.schema:
            kinds.setdefault(each.name, set()).add(_kind(each.type))
    texts = {name for name, found in kinds.items() if len(found - {"null"}) > 1}
    same = [some.cast(_as_text(some.schema, texts)) for some in tables]
    return pa.concat_tables(same, promote_options="permissive")


def _kind(of: "pa.DataType") -> str:
    import pyarrow as pa

    return "number" if pa.types.is_integer(of) or pa.types.is_floating(of) else str(of)


def _as_text(schema: "pa.Schema", names: Collection[str]) -> "pa.Schema":
    import pyarrow as pa

    return pa.schema([f.with_type(pa.string()) if f.name in names else f for f in schema])


def _array(values: list[Any]) -> "pa.Array":
    import pyarrow as pa

    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {int} and all(v is None or abs(v) < 2**63 for v in values):
        return pa.array(values, pa.int64())
    if kinds and kinds <= {int, float}:
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    if len(kinds) <= 1 and kinds <= {bool, str}:
        return pa.array(values)
    texts = [v if isinstance(v, str | None) else json.dumps(v) for v in values]
    return pa.array(texts, pa.string())


def _part(rows: "pd.DataFrame", prefix: str) -> "pd.DataFrame":
    wanted = [str(name) for name in rows if str(name).startswith(prefix)]
    names = {name: name.removeprefix(prefix) for name in wanted}
    return rows[list(names)].rename(columns=names)
