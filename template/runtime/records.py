"""Lineage: what a run was made of, and what came out of it."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field

from runtime.settings import Settings

RunState = Literal["succeeded", "failed", "interrupted"]
StepState = Literal["ran", "cached", "skipped", "failed", "not reached"]


class Lineage(Settings):
    """Where a run comes from. Travels to `register` as one JSON string."""

    pipeline: str
    git_commit: str | None
    """The commit's 40 hex digits; None outside a git repository."""
    git_dirty: bool
    """Whether files differed from that commit."""
    lock_sha256: str
    """SHA-256 of uv.lock: every installed version."""
    images: dict[str, str]
    """The image of each step, tag included."""
    settings: dict[str, dict[str, Any]]
    """The settings of each step."""


class Data(Settings):
    """The data a model was trained and judged on."""

    version: str
    """Fingerprint of the source, see `runtime.sources.fingerprint`."""
    train_sha256: str
    test_sha256: str
    train_rows: int
    test_rows: int

    @classmethod
    def of(cls, train: Mapping[str, Any], test: Mapping[str, Any]) -> Self:
        """From the metadata of the two Dataset artifacts that `ingest` writes."""
        # KFP carries every number as a float.
        return cls(
            version=train["version"],
            train_sha256=train["sha256"],
            test_sha256=test["sha256"],
            train_rows=int(train["rows"]),
            test_rows=int(test["rows"]),
        )


class ModelRecord(Settings):
    """A registered model, and everything needed to make it again."""

    model_id: str
    """The first 12 hex digits of `sha256`."""
    sha256: str
    uri: str
    registered_at: str
    """UTC, ISO 8601."""
    data: Data
    metrics: dict[str, float]
    champion: str | None
    """SHA-256 of the model released at that time; None when there was none."""
    champion_metrics: dict[str, float] | None
    reason: str
    """Why it was worth registering."""
    lineage: Lineage
    note: str = ""


class Artifact(Settings):
    """A file or folder that a step wrote."""

    type: str
    """KFP's name of the type, `system.Model` say."""
    uri: str
    metadata: dict[str, Any]


class StepRecord(Settings):
    """One step of a run."""

    state: StepState
    seconds: float
    image: str | None
    log: str | None
    """Path of its log, relative to the project; None when it did not run."""
    after: list[str] | None = None
    """The steps it waits for; None in records of before 0.2."""
    within: list[str] = Field(default_factory=list)
    """The conditions and loops around it, the outermost first."""
    parameters: dict[str, Any]
    """Plain values it returned."""
    artifacts: dict[str, Artifact]


class RunRecord(Settings):
    """One run of a pipeline, as `make run` writes it."""

    run_id: str
    pipeline: str
    runner: str
    environment: str
    state: RunState
    started_at: str
    """UTC, ISO 8601."""
    seconds: float
    data_version: str
    champion: str
    metrics: dict[str, float]
    lineage: Lineage
    steps: dict[str, StepRecord]
