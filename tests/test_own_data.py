"""A team's own data: files and databases, secrets from the environment."""

from functools import partial

import pytest
from projects import Generated, flavour

pytestmark = pytest.mark.project
on = partial(pytest.mark.parametrize, "project", indirect=True)
# One is enough for what does not depend on task or framework, and each worker has its share.
LAPTOP = on([flavour("laptop")])
REGRESSION = on([flavour("xgboost-regression")])
QUERY = {"query": "select * from examples"}


def install(project: Generated, extra: str) -> None:
    """Do what a run that lacks a driver says is to be done."""
    said = project.make("run").failed(f'"runtime[{extra}]"', "make setup").err
    assert "steps/ingest/pyproject.toml" in said
    project.edit(
        "steps/ingest/pyproject.toml",
        "dependencies = [\n",
        f'dependencies = [\n  "runtime[{extra}]",\n',
    )
    project.make("setup").succeeded()


@LAPTOP
def test_a_csv_file(project: Generated) -> None:
    """The same data from a file make the same model; an edit of the file is seen."""
    project.make("run").succeeded()
    metrics = project.last_run["metrics"]
    project.shipped_data("data/mine.csv")
    project.source("data/mine.csv")
    project.make("run").succeeded()
    assert project.last_run["metrics"] == pytest.approx(metrics, rel=0.05)
    project.make("run").succeeded()
    assert set(project.states.values()) == {"cached"}
    project.shipped_data("data/mine.csv", "frame = frame.drop(index=3)")
    project.make("run").succeeded()
    assert project.states["ingest"] == "ran"


@REGRESSION
def test_a_path_from_the_environment(project: Generated) -> None:
    """A variable that is not set is named; one that is set is read when the data is."""
    project.shipped_data("data/mine.parquet")
    project.source("${DATA_FOLDER}/mine.parquet")
    project.make("run").failed("DATA_FOLDER", "not set")
    project.make("run", DATA_FOLDER="data").succeeded()
    assert "DATA_FOLDER" in project.last_run["lineage"]["settings"]["ingest"]["source"]


@LAPTOP
def test_duckdb(project: Generated) -> None:
    """A query over files; the driver is one line away."""
    project.shipped_data("data/mine.parquet")
    project.source("duckdb:", query="select * from 'data/*.parquet'")
    install(project, "duckdb")
    project.make("run").succeeded()
    # What is behind a query cannot be known, so it is asked again.
    project.make("run").succeeded()
    assert project.states["ingest"] == "ran"
    project.source("duckdb:", query="select * from nowhere")
    project.make("run").failed("nowhere")


@LAPTOP
def test_a_database_by_sqlalchemy(project: Generated) -> None:
    """Any SQLAlchemy URL; with a version, the query is not asked again."""
    project.shipped_data("data/mine.db")
    project.source("sqlite:///${DATABASE}", **QUERY)
    install(project, "sql")
    project.make("run").failed("DATABASE", "not set")
    project.make("run", DATABASE="data/mine.db").succeeded()
    project.source("sqlite:///data/mine.db", **QUERY, version="2026-11-22")
    for _ in range(2):
        project.make("run").succeeded()
    assert set(project.states.values()) == {"cached"}
    project.source("sqlite:///data/other.db", **QUERY, version="2026-11-22")
    project.make("run").failed("no such table")


@REGRESSION
@pytest.mark.parametrize(
    "source",
    [
        "postgresql+psycopg://me:ducksecret@host/db",
        "postgresql://me:ducksecret@host/db",
        "s3://key:ducksecret@bucket/mine.csv",
        "https://me:ducksecret@host/mine.csv",
    ],
)
def test_a_password_in_the_file(project: Generated, source: str) -> None:
    """It is refused, and shown to nobody."""
    query = QUERY if source.startswith("postgresql") else {}
    project.source(source, **query)
    for verb in ("check", "run"):
        assert "ducksecret" not in project.make(verb).failed("ingest", "password").said


@LAPTOP
def test_a_database_that_does_not_answer(project: Generated) -> None:
    """The reason is told, the password is not."""
    project.source("sqlite:///nowhere/${SECRET}.db", **QUERY)
    install(project, "sql")
    done = project.make("run", SECRET="ducksecret").failed("unable to open database file")  # noqa: S106
    assert "ducksecret" not in done.said
