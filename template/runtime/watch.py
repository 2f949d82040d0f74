"""What is watched of a released model, when it is an alarm, and what is done about it."""

from typing import Literal, Self

from pydantic import ByteSize, Field, model_validator

from runtime import sources
from runtime.settings import Settings


class Thresholds(Settings):
    """What an alarm takes: that it is no chance, and that it matters."""

    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """How often data that have not changed may raise an alarm, of all columns together."""
    distance: float = Field(default=0.1, gt=0, le=1)
    """What is less than this is no drift, however certain: 0 is the same, 1 nothing in common."""
    psi_moderate: float = Field(default=0.1, gt=0)
    """A population stability index from here on is called moderate. It decides nothing."""
    psi_large: float = Field(default=0.25, gt=0)
    """And from here on large: both as in Siddiqi, Credit Risk Scorecards, 2006."""


class Watch(Thresholds):
    """The settings of the step `monitor`."""

    source: str = "payloads:${PAYLOAD_LOG:-artifacts/payloads}"
    """`payloads:` and a payload log's folder or URI; or a table, in the forms of `ingest`."""
    query: str | None = None
    """The SQL to run, when the source is a database."""
    max_size: ByteSize = ByteSize(2**30)
    """Files larger than this are refused, such as `500MB`; not so a single Parquet file."""
    days: float = Field(default=7, gt=0)
    """How far back a payload log is read."""
    labels: str = ""
    """A file of what turned out to be true: `request_id`, `row` if it is not 0, the target."""
    retrain_on: list[Literal["drift", "quality"]] = Field(default=["drift", "quality"])
    """Which alarms have the model trained again."""
    pushgateway: str = Field(default="", pattern=r"^(https?://[^/\s:]+(:\d+)?(/\S*)?)?$")
    """URL of a Prometheus Pushgateway that is told what was found; empty: none."""

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if sources.is_log(self.source):
            if self.query:
                raise ValueError(f"{self.source!r} is not a database: remove the query")
        else:
            sources.check(self.source, self.query)
        if self.labels:
            sources.check(self.labels, None)
        return self
