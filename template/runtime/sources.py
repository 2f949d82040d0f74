"""Where data comes from: a scikit-learn data set, a file by path or URI, or a query.

The forms of a source:

- `sklearn:breast_cancer`: a data set that ships with scikit-learn
- `data/churn.csv`, `data/parts/*.parquet`, `s3://bucket/churn.parquet`: CSV or Parquet by fsspec
- `duckdb:` or `duckdb:data/warehouse.db`: a query by DuckDB, in memory or in a database file
- `postgresql+psycopg://user:${DB_PASSWORD}@host/db`: a query by any SQLAlchemy URL

`${NAME}`, or `${NAME:-otherwise}`, is read from the environment when the data is read, so that no
secret is in a file. `payloads:` and a folder or URI is a payload log (`runtime.payloads`), which
only `monitor` reads.
"""

import hashlib
import os
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from runtime.errors import ProjectError

if TYPE_CHECKING:
    import pandas as pd
    from fsspec import AbstractFileSystem

SKLEARN = "sklearn:"
DUCKDB = "duckdb:"
PAYLOADS = "payloads:"
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
"""A variable of the environment, and what stands there when it is not set."""
# Schemes that fsspec opens; every other `scheme://` is taken for an SQLAlchemy URL.
FILE_SCHEMES = {"file", "s3", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "hdfs", "memory"}
EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs"}


def is_query(source: str) -> bool:
    """Whether the source is a database, which needs a query."""
    scheme = source.partition("://")[0] if "://" in source else ""
    return source.startswith(DUCKDB) or bool(scheme and scheme.lower() not in FILE_SCHEMES)


def expanded(text: str, variables: Mapping[str, str] = os.environ) -> str:
    """The text with the values of its variables.

    Raises:
        ProjectError: one is not set, and nothing is to stand there instead.
    """

    def value(match: re.Match[str]) -> str:
        name, otherwise = match.groups()
        if name not in variables and otherwise is None:
            raise ProjectError(f"the environment variable {name} is not set; {text!r} needs it")
        return variables.get(name, otherwise)

    return VARIABLE.sub(value, text)


def filled(text: str, variables: Mapping[str, str] = os.environ) -> str:
    """The text with the values that are known; a variable without one stays as it stands."""
    return VARIABLE.sub(lambda match: variables.get(match[1], match[2] or match[0]), text)


def redacted(source: str) -> str:
    """The source without a password, to be shown."""
    return re.sub(r"://[^@/]*@", "://…@", source)


def is_log(source: str) -> bool:
    """Whether the source is a payload log."""
    return source.startswith(PAYLOADS)


def log(source: str) -> str:
    """The folder or URI of a source that is a payload log."""
    return expanded(source).removeprefix(PAYLOADS)


def is_one_parquet(source: str) -> bool:
    """Whether the source is a single Parquet file, which can be read part by part."""
    return _suffix(source).endswith(".parquet") and not re.search(r"[*?\[]", source)


def local_path(source: str) -> str | None:
    """The path or pattern by which a source names files of this machine; None if it names none."""
    path = re.sub(r"^(file://|duckdb:|payloads:|sqlite(\+\w+)?:///)", "", source)
    if not path or path.startswith(SKLEARN) or "://" in path:
        return None
    return expanded(path)


def check(source: str, query: str | None) -> None:
    """Refuse a source that cannot work, before anything runs.

    Raises:
        ValueError: an unknown form, a query too many or too few, a password in clear.
    """
    shown = redacted(source)
    password = urlsplit(source).password if "://" in source else None
    if password and not re.fullmatch(r"\$\{\w+\}", password):
        raise ValueError(
            f"a password is in {shown!r}: write ${{DB_PASSWORD}} and set that variable"
        )
    if is_query(source):
        if not query:
            raise ValueError(f"{shown!r} is a database: add the query to run")
        return
    if query:
        raise ValueError(f"{shown!r} is not a database: remove the query")
    if source.startswith(SKLEARN):
        return
    if not _suffix(source).endswith((".csv", ".csv.gz", ".parquet")):
        raise ValueError(f"{shown!r} must end in .csv, .csv.gz or .parquet")


def fingerprint(source: str, query: str | None = None) -> str:
    """The version of the data behind a source, found without reading it into memory.

    A local file's version is the SHA-256 of its content; a remote one's is what its store says of
    it (ETag, size, time of change). What stands behind a query cannot be known: each call gives a
    new version, so that the query is run again.

    Raises:
        ProjectError: nothing is there, or the store does not answer.
    """
    if is_query(source):
        return f"read-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    if source.startswith(SKLEARN):
        return f"{source.removeprefix(SKLEARN)}-{metadata.version('scikit-learn')}"
    digest = hashlib.sha256()
    filesystem, paths = _files(source)
    for path in paths:
        digest.update(path.rpartition("/")[2].encode())
        if "file" in _protocols(filesystem):
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        else:
            digest.update(str(filesystem.ukey(path)).encode())
    return f"sha256-{digest.hexdigest()[:16]}"


def read(
    source: str, query: str | None = None, *, max_bytes: int, text: Collection[str] = ()
) -> "pd.DataFrame":
    """Read a source into a frame, one row per example; of CSV, the columns `text` as they stand.

    Raises:
        ProjectError: it is missing, empty, unreadable or larger than `max_bytes`.
    """
    if source.startswith(SKLEARN):
        return _read_sklearn(source.removeprefix(SKLEARN))
    if is_query(source):
        frame = _read_query(source, str(query))
    else:
        frame = _read_files(source, max_bytes, text)
    if frame.empty:
        raise ProjectError(f"{source!r} holds no rows: check the file, or the query's conditions")
    return frame


def _read_sklearn(name: str) -> "pd.DataFrame":
    from sklearn import datasets

    loader = getattr(datasets, f"load_{name}", None)
    if loader is None:
        known = sorted(n.removeprefix("load_") for n in dir(datasets) if n.startswith("load_"))
        raise ProjectError(f"scikit-learn ships no data set {name!r}; it has {', '.join(known)}")
    # Diabetes comes standardised unless asked otherwise; units are what a schema can check.
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = loader(as_frame=True, **options)
    frame: pd.DataFrame = bunch.frame
    if "target_names" in bunch:
        # Words instead of codes: what the model answers is then what a person reads.
        frame["target"] = frame["target"].map(dict(enumerate(map(str, bunch.target_names))))
    return frame


def _read_files(source: str, max_bytes: int, text: Collection[str]) -> "pd.DataFrame":
    import pandas as pd

    filesystem, paths = _files(source)
    size = sum(filesystem.size(path) or 0 for path in paths)
    if size > max_bytes:
        raise ProjectError(
            f"{source!r} is {size / 2**20:.0f} MiB, more than max_size allows "
            f"({max_bytes / 2**20:.0f} MiB): raise it, or read less"
        )
    frames = []
    for path in paths:
        with filesystem.open(path, "rb", compression="infer") as file:
            try:
                if ".csv" in _suffix(path):
                    frames.append(pd.read_csv(file, dtype=dict.fromkeys(text, str)))
                else:
                    frames.append(pd.read_parquet(file))
            except (ValueError, OSError, EOFError) as error:
                reason = str(error).strip().splitlines()[0]
                raise ProjectError(f"{path!r} cannot be read: {reason}") from error
    return pd.concat(frames, ignore_index=True)


def _read_query(source: str, query: str) -> "pd.DataFrame":
    import pandas as pd

    try:
        if source.startswith(DUCKDB):
            import duckdb

            database = source.removeprefix(DUCKDB)
            if database and not os.path.exists(database):
                raise ProjectError(f"there is no database file at {database!r}")
            with duckdb.connect(database or ":memory:", read_only=bool(database)) as connection:
                answer: pd.DataFrame = connection.sql(query).df()
                return answer
        import sqlalchemy

        engine = sqlalchemy.create_engine(expanded(source))
        with engine.connect() as session:
            return pd.read_sql_query(sqlalchemy.text(query), session)
    except ModuleNotFoundError as error:
        extra = "duckdb" if source.startswith(DUCKDB) else "sql"
        raise ProjectError(
            f'{error.name!r} is not installed: add "runtime[{extra}]" (and your database\'s '
            "driver) to steps/ingest/pyproject.toml and run `make setup`"
        ) from None
    except ProjectError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise ProjectError(f"the query on {redacted(source)} failed: {reason}") from error


def _files(source: str) -> tuple["AbstractFileSystem", list[str]]:
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(expanded(source))
        paths = sorted(filesystem.glob(path)) if "*" in path else [path]
        missing = [p for p in paths if not filesystem.isfile(p)] if paths else [path]
    except ImportError:
        scheme = source.partition("://")[0]
        extra = EXTRAS.get(scheme)
        what = f'"runtime[{extra}]"' if extra else f"the fsspec package for {scheme!r}"
        raise ProjectError(
            f"{source!r} needs a driver: add {what} to steps/ingest/pyproject.toml, "
            "then `make setup`"
        ) from None
    except OSError as error:
        raise ProjectError(f"{source!r} cannot be reached: {error}") from error
    if missing:
        raise ProjectError(
            f"there is no file at {missing[0]!r}: correct the path in config/project.yaml"
        )
    return filesystem, paths


def _protocols(filesystem: "AbstractFileSystem") -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _suffix(source: str) -> str:
    return source.partition("?")[0].lower()
