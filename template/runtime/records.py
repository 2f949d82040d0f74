"""Lineage: what a run was made of, and what came out of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field

from runtime.settings import Settings

RunState = Literal["succeeded", "failed", "interrupted"]
StepState = Literal["ran", "cached", "skipped", "failed", "not reached"]


def moment(text: str) -> str:
    """The time of a record, for reading."""
    return f"{datetime.fromisoformat(text):%d %B %Y, %H:%M} UTC"


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


class Trial(Settings):
    """One attempt of a search: hyper-parameters, and how good they are."""

    number: int
    """From 0 on; the first is what was configured."""
    state: Literal["complete", "pruned", "failed"]
    """Pruned: not finished, as it was behind the others."""
    value: float | None = None
    """The metric, the mean of the folds that were judged; None when it failed."""
    values: dict[str, Any]
    error: str = ""


class Study(Settings):
    """A search for hyper-parameters: what was tried on the training data, and what was best."""

    metric: str
    lower_is_better: bool
    most_trials: int
    """The limit; with 0, nothing was searched."""
    most_minutes: float
    stopped_by: Literal["trials", "time"] = "trials"
    """The limit that ended it. What the time ended may end otherwise the next time."""
    seed: int = 0
    seconds: float = 0.0
    trials: list[Trial] = Field(default_factory=list)
    best: int | None = None
    """Number of the best trial."""
    importance: dict[str, float] = Field(default_factory=dict)
    """Share of each parameter in what makes a trial good; empty with too few trials to tell."""

    @property
    def best_trial(self) -> Trial | None:
        """The best trial; None when nothing was searched."""
        return None if self.best is None else self.trials[self.best]

    @property
    def found(self) -> dict[str, Any]:
        """The best hyper-parameters; empty when nothing was searched."""
        return self.best_trial.values if self.best_trial else {}

    @property
    def headline(self) -> dict[str, Any]:
        """What a run's record says of it."""
        if self.best_trial is None:
            return {"trials": 0}
        return {
            "trials": len(self.trials),
            "stopped_by": self.stopped_by,
            "metric": self.metric,
            "value": self.best_trial.value,
            "found": self.found,
        }
