"""What `ingest` can be told in config/project.yaml."""

from typing import Self

from pydantic import ByteSize, Field, model_validator

from runtime import sources
from runtime.settings import Settings


class StepSettings(Settings):
    """Which data to read, and how much of it to hold out."""

    source: str
    """A scikit-learn data set, a path or URI of CSV or Parquet, or a database."""
    query: str | None = None
    """The SQL to run, when the source is a database."""
    version: str | None = None
    """Stands for the data behind a query; without it, the query is run again every time."""
    max_size: ByteSize = ByteSize(2**30)
    """Files larger than this are refused, such as `500MB` or `2GiB`."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the examples that is held out, about."""
    seed: int = Field(default=0, ge=0)
    """Of the split; another one holds out examples that the champion was trained on."""

    @model_validator(mode="after")
    def _source_can_work(self) -> Self:
        sources.check(self.source, self.query)
        return self
