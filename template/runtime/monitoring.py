"""Whether a released model is still asked what it was made for, and still answers well.

Each column of what was asked and answered is held against the model's reference profile
(`runtime.drift`), each row against the schema; and where the truth has come, the model is scored
once more, by the metrics of its own evaluation.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import pandas as pd
import pandera.pandas as pa
from scipy import stats
from sklearn.pipeline import Pipeline

from runtime import drift, predictions, recent, sources
from runtime.drift import LEAST, Change, Drift, State
from runtime.errors import ProjectError
from runtime.payloads import INPUT, OUTPUT
from runtime.recent import Part
from runtime.records import ModelRecord
from runtime.reference import Reference, Tally, joined
from runtime.settings import Settings
from runtime.store import ModelStore, model_id
from runtime.watch import Thresholds, Watch

Scores = Callable[[Pipeline, pd.DataFrame], dict[str, float]]

MOST_LABELLED = 20_000
"""So many rows with a truth are scored, of more the first that come: of a log, the newest."""
RESAMPLED = 100
"""Samples of those rows, by which a metric's own uncertainty is told."""
SHOWN = 5


class ColumnFound(Settings):
    """What became of a column; shares are of all rows."""

    name: str
    answer: bool
    """Whether the model answers it; otherwise it is asked with it."""
    state: State
    reason: str
    distance: float | None
    """None when there were too few rows."""
    p: float
    psi: float | None
    psi_reading: str
    missing_before: float
    missing_now: float
    new: list[str]
    """Some categories that the reference does not have."""
    places: list[float] | list[str]
    """Of a picture: the edges of its bars, or the categories."""
    before: list[float]
    now: list[float]
    """Shares of the rows, one for each bar."""


class QualityFound(Settings):
    """How good the model was where the truth is known."""

    state: Literal["worse", "steady", "unknown"]
    reason: str
    rows: int
    metric: str
    """The one that decides about a candidate."""
    now: dict[str, float]
    then: dict[str, float]
    """On the rows that were held out when it was trained."""


class Findings(Settings):
    """All that is known of a released model after a look at recent rows."""

    model_id: str
    looked_at: str
    """UTC, ISO 8601, as all times here."""
    registered_at: str
    last_training: str
    """When the newest model was registered."""
    source: str
    rows: int
    other_rows: int
    """Rows that other models answered: they are left out."""
    state: State
    columns: list[ColumnFound]
    unwatched: list[str]
    """Columns of the model that the source does not have."""
    broken: list[str]
    """Rules of the schema that rows break, in words."""
    broken_rows: int
    quality: QualityFound
    verdict: Literal["retrain", "keep"]
    reason: str


@dataclass(frozen=True)
class Released:
    """The released model, and what was kept with it."""

    record: ModelRecord
    model: Pipeline
    reference: Reference
    last_training: str


@dataclass(frozen=True)
class Science:
    """What the team's own package says of the model."""

    schema: pa.DataFrameSchema
    """What it is asked with."""
    target: str
    answer: recent.Answer
    scores: Scores
    lower_is_better: Collection[str]


@dataclass
class Seen:
    """What was counted while the rows went by."""

    tally: Tally
    broken: list[str] = field(default_factory=list)
    broken_rows: int = 0
    labelled: list[pd.DataFrame] = field(default_factory=list)
    labels: int = 0
    others: int = 0

    def add(self, part: Part, target: str) -> None:
        """Count a part."""
        self.tally.add(joined(part.inputs, part.outputs))
        self.others += part.others
        self.broken_rows += len({row for each in part.violations for row in each.rows})
        told = (str(each) for each in part.violations)
        self.broken = list(dict.fromkeys([*self.broken, *told]))[:SHOWN]
        known = part.truth.notna().to_numpy()
        if known.any() and self.labels < MOST_LABELLED:
            rows = part.inputs[known].assign(**{target: part.truth[known].infer_objects()})
            self.labelled.append(rows.iloc[: MOST_LABELLED - self.labels])
            self.labels += len(self.labelled[-1])


def released(model_store: str, champion: str, *, trusted: Sequence[str]) -> Released:
    """Load the released model by its SHA-256, with its reference profile.

    Raises:
        ProjectError: nothing is released, the model is missing or was changed, or it has no
            profile.
    """
    model = predictions.released_model(model_store, champion, trusted=trusted)
    store = ModelStore(model_store)
    record = store.find(model_id(champion))
    if record is None:
        raise ProjectError(f"no model {model_id(champion)!r} is registered in this model store")
    profile = store.profile(record.model_id)
    if profile is None:
        raise ProjectError(
            f"model {record.model_id} has no reference profile, so nothing says what its rows "
            "looked like: docs/monitoring.md says how a model gets one"
        )
    reference = Reference.parse(profile, where=f"the profile of model {record.model_id}")
    return Released(record, model, reference, store.records()[-1].registered_at)


def look(released: Released, options: Watch, science: Science) -> Findings:
    """Hold recent rows against what the model was made from, and say what is to be done.

    Raises:
        ProjectError: they cannot be read.
    """
    now = datetime.now(UTC)
    seen = Seen(Tally(released.reference))
    for part in _parts(released, options, science, now):
        seen.add(part, science.target)
    found = drift.compare(seen.tally, options)
    quality = judged(released, seen, options, science)
    verdict, reason = decided(found, seen, quality, options)
    return Findings(
        model_id=released.record.model_id,
        looked_at=now.isoformat(timespec="seconds"),
        registered_at=released.record.registered_at,
        last_training=released.last_training,
        source=shown(options),
        rows=seen.tally.rows,
        other_rows=seen.others,
        state=found.state,
        columns=[_found(change, seen.tally) for change in found.columns],
        unwatched=[_plain(name) for name in found.unwatched],
        broken=seen.broken,
        broken_rows=seen.broken_rows,
        quality=quality,
        verdict=verdict,
        reason=reason,
    )


def judged(
    released: Released, seen: Seen, thresholds: Thresholds, science: Science
) -> QualityFound:
    """Whether the deciding metric is worse than when the model was trained.

    It is when the difference is more than chance, by a normal approximation in which both the rows
    of now and those of then are samples; the metric's standard error is a bootstrap's.
    """
    then = released.record.metrics
    chosen = released.record.lineage.settings.get("evaluate", {}).get("metric")
    metric = chosen if chosen in then else next(iter(then), "")

    def unknown(reason: str, **now: float) -> QualityFound:
        return QualityFound(
            state="unknown", reason=reason, rows=seen.labels, metric=metric, now=now, then=then
        )

    if not seen.labels:
        return unknown("of none of these rows is the truth known")
    rows = pd.concat(seen.labelled, ignore_index=True)
    lacking = [name for name in science.schema.columns if name not in rows]
    if lacking:
        return unknown(f"{len(lacking)} columns that the metrics need are not there: {lacking[0]}")
    try:
        now = science.scores(released.model, rows)
    except Exception as error:  # The team's own code, on rows that it has never seen.
        return unknown(f"the metrics cannot be computed: {type(error).__name__}: {error}")
    if len(rows) < LEAST:
        return unknown(f"the truth is known of {len(rows)} rows, {LEAST} are needed", **now)
    if metric not in now:
        return unknown("the metrics of today's evaluation are not those of the model's", **now)
    doubt = _standard_error(released.model, rows, metric, science.scores)
    if not np.isfinite(doubt):
        return unknown(f"too few of these rows are alike for {metric}", **now)
    # Held-out rows of then are a sample too: of as many, the difference varies by root two more.
    doubt *= np.sqrt(1 + len(rows) / max(1, released.record.data.test_rows))
    sign = 1 if metric in science.lower_is_better else -1
    loss = sign * (now[metric] - then[metric])
    p = float(stats.norm.sf(loss / doubt)) if doubt else float(loss <= 0)
    told = f"{metric} {now[metric]:.4f} on {len(rows):,} rows, {then[metric]:.4f} when trained"
    worse = p < thresholds.alpha
    return QualityFound(
        state="worse" if worse else "steady",
        reason=f"{told}; p {p:.2g}" if worse else told,
        rows=len(rows),
        metric=metric,
        now=now,
        then=then,
    )


def decided(
    found: Drift, seen: Seen, quality: QualityFound, options: Watch
) -> tuple[Literal["retrain", "keep"], str]:
    """What is to be done, and why."""
    if seen.broken:
        return "keep", "the data break the schema, and nothing is trained on broken data"
    alarms = {
        "drift": _told(found),
        "quality": f"the model answers worse: {quality.reason}" if quality.state == "worse" else "",
    }
    told = " and ".join(filter(None, alarms.values()))
    if any(alarms[name] for name in options.retrain_on):
        return "retrain", told
    if told:
        return "keep", f"{told}; `retrain_on` says that this is looked at by people"
    if not seen.tally.rows:
        return "keep", f"there are no rows of this model in {shown(options)}"
    if found.state == "unknown":
        return "keep", "too little is known to say whether the data have drifted"
    return "keep", "nothing has changed that would matter"


def shown(options: Watch) -> str:
    """The source, for people."""
    return sources.redacted(sources.expanded(options.source))


def _parts(released: Released, options: Watch, science: Science, now: datetime) -> Iterator[Part]:
    known: dict[str, Any] = {"schema": science.schema, "target": science.target}
    if sources.is_log(options.source):
        return recent.log(options, released.record.model_id, now=now, **known)
    return recent.table(options, released.model, answer=science.answer, **known)


def _standard_error(model: Pipeline, rows: pd.DataFrame, metric: str, scores: Scores) -> float:
    """Of the metric, by drawing rows anew; not finite when too often there is no metric."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLED):
        drawn = rows.iloc[random.integers(len(rows), size=len(rows))]
        try:
            found.append(scores(model, drawn)[metric])
        except Exception:  # noqa: S112 # The team's own code: one label only, say.
            continue
    return float(np.std(found, ddof=1)) if len(found) > RESAMPLED / 2 else float("nan")


def _told(found: Drift) -> str:
    drifted = [change for change in found.columns if change.state == "drift"]
    if not drifted:
        return ""
    most = max(drifted, key=_distance)
    count = f"{len(drifted)} of {len(found.columns)} columns have drifted"
    return f"{count}, {_plain(most.column)} by {_distance(most):.2f}"


def _distance(change: Change) -> float:
    return max((test.distance for test in (change.values, change.missing) if test), default=0.0)


def _found(change: Change, tally: Tally) -> ColumnFound:
    column = tally.reference.columns[change.column]
    places, before = column.histogram(np.array(column.counts))
    _, now = column.histogram(tally.counts[change.column])
    return ColumnFound(
        name=_plain(change.column),
        answer=change.column.startswith(OUTPUT),
        state=change.state,
        reason=change.reason,
        distance=_distance(change) if change.values or change.missing else None,
        p=change.p,
        psi=change.psi,
        psi_reading=change.psi_reading,
        missing_before=change.missing_before,
        missing_now=change.missing_now,
        new=list(change.new),
        places=places,
        before=before,
        now=now,
    )


def _plain(name: str) -> str:
    return name.removeprefix(INPUT).removeprefix(OUTPUT)
