"""`make report`: a run as one page to show, and the card of its model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import typer

from runtime.errors import ProjectError
from runtime.records import Artifact, RunRecord, Study, Trial, moment
from runtime.store import ModelStore, model_id
from tools import card, charts, evidence, graph, history, pages, screen, study
from tools.conclusion import own_error
from tools.evidence import Judgement, NothingToShowError, Profile
from tools.project import ROOT, project

PAGE, CARD = "report.html", "model-card.md"
# What a page shows of what may be very long.
MOST_CELLS = 1_000_000
LOG_LINES = 30
BEST_TRIALS = 10


def report(
    run: Annotated[str, typer.Option(help="A folder of artifacts/runs/; the newest.")] = "",
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
) -> None:
    """Write the page of a run, and its model's card, into the folder of the run."""
    folder = history.find(env, run)
    told = Story(folder)
    values = {"run": told, "project": project().name, "team": card.TEAM}
    with screen.console.status(f"Drawing {folder.name}"):
        pages.write(folder / CARD, "model-card.md.j2", **values)
        pages.write(folder / PAGE, "report.html.j2", **values)
    for name in (PAGE, CARD):
        path = (folder / name).relative_to(ROOT)
        screen.console.print(f"{path.stem:<12} {path}", soft_wrap=True)
    missing = [section.title for section in told.sections if section.missing]
    if missing and told.model:
        screen.what_next(f"Still to write in {card.TEAM}: {', '.join(missing)}.")
    screen.what_next("Open the page in a browser; `make compare` shows all runs side by side.")


@dataclass(frozen=True)
class Score:
    """A metric of candidate and champion."""

    name: str
    candidate: float
    champion: float | None
    decides: bool
    lower: bool

    @property
    def gain(self) -> float | None:
        """By how much the candidate is better; negative when it is worse."""
        if self.champion is None:
            return None
        return (self.champion - self.candidate) * (1 if self.lower else -1)


@dataclass(frozen=True)
class Feature:
    """What a feature is worth to the model."""

    name: str
    value: float
    share: float
    """Of the value of the best feature."""


@dataclass(frozen=True)
class Search:
    """A search for hyper-parameters."""

    study: Study
    ranking: list[Trial]
    """All trials, the best first."""
    effort: str
    picture: Any
    importance: list[Feature]
    """What the parameters are worth, the best first; empty when too little was tried to tell."""
    shown: int = BEST_TRIALS

    @property
    def parameters(self) -> list[str]:
        """The names of what was searched."""
        return list(dict.fromkeys(name for trial in self.ranking for name in trial.values))


class Story:
    """All that a page says of a run; a part that cannot be told is a sentence that says why."""

    def __init__(self, folder: Path) -> None:
        where = (folder / history.RECORD).relative_to(ROOT)
        try:
            content = json.loads((folder / history.RECORD).read_text("utf-8"))
            # JSON has no word for a metric that is not a number.
            metrics = {
                name: value for name, value in content["metrics"].items() if value is not None
            }
            self.record = RunRecord.parse({**content, "metrics": metrics}, where=str(where))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ProjectError(f"{where} cannot be read: {error}") from None
        self.folder = folder
        self.settings = self.record.lineage.settings
        self.steps = self.record.steps

    @cached_property
    def graphs(self) -> dict[str, Any]:
        """The pipeline, drawn for a desk and for a phone."""
        return {
            "across": graph.draw(self.steps, down=False),
            "down": graph.draw(self.steps, down=True),
        }

    @cached_property
    def has_lines(self) -> bool:
        """Whether the record says which step waits for which."""
        return any(step.after is not None for step in self.steps.values())

    @cached_property
    def failure(self) -> tuple[str, str, str] | None:
        """Of the step that failed or was stopped: name, its own error, the end of its log."""
        name = next((name for name, step in self.steps.items() if step.state == "failed"), None)
        if name is None:
            return None
        log = self.steps[name].log
        path = ROOT / log if log else None
        if path is None or not path.exists():
            return name, "It left no log.", ""
        text = path.read_text("utf-8", errors="replace")
        error = "" if self.record.state == "interrupted" else own_error(text)
        return name, error, "\n".join(text.splitlines()[-LOG_LINES:])

    @cached_property
    def outcome(self) -> str:
        """What became of the candidate, in a few words."""
        if self.record.state == "interrupted":
            where = f" in {self.failure[0]}" if self.failure else ""
            return f"Stopped{where}"
        if self.failure:
            return f"{self.failure[0]} failed"
        registered = self.steps.get("register")
        if registered is None:
            return "Finished"
        if self.watched and registered.state == "skipped":
            again = self.steps["evaluate"].state != "skipped"
            return "Trained again, the champion stays" if again else "The model is kept"
        return "Not registered" if registered.state == "skipped" else f"Registered as {self.model}"

    @cached_property
    def model(self) -> str:
        """The id of the model of this run; empty when it got none."""
        sha256 = self.model_sha256
        return model_id(sha256) if sha256 else ""

    @cached_property
    def model_sha256(self) -> str:
        """The SHA-256 of the model of this run; empty when it got none."""
        model = self._find("model")
        return str(model.metadata.get("sha256", "")) if model else ""

    @cached_property
    def framework(self) -> str:
        """What the model is made with."""
        model = self._find("model")
        return str(model.metadata.get("framework", "")) if model else ""

    @cached_property
    def status(self) -> str:
        """What has become of the model by now."""
        if not self.model:
            return "none was trained"
        try:
            uri = project().environment(self.record.environment).model_store
            store = ModelStore(uri if "://" in uri else str(ROOT / uri))
            if store.champion() == self.model_sha256:
                return "released"
            return "registered, not released" if store.find(self.model) else "not registered"
        except (ProjectError, OSError):
            return "not known: the model store does not answer"

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What is known for the model card."""
        judged = self.judgement
        ingest = self.settings.get("ingest", {})
        known = {
            "Model": self.model,
            "Status": self.status,
            "Made with": self.framework,
            "Answers with": ""
            if isinstance(judged, str)
            else "one of " + ", ".join(judged.labels)
            if judged.labels
            else "a number",
            "Data": f"{self.record.data_version} ({ingest.get('source', 'source not recorded')})",
            "Examples": {
                name: f"{int(artifact.metadata['rows']):,} rows" for name, artifact in self.data
            },
            "Settings": {**self.settings.get("train", {}), **self._found},
            "Run": f"{self.record.run_id}, {moment(self.record.started_at)}",
            "Commit": self.record.lineage.git_commit,
            "SHA-256": self.model_sha256,
        }
        return {name: value for name, value in known.items() if value}

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What `evaluate` wrote: scores of both, the reason, importance; empty when it did not."""
        return self._json("metrics")

    @cached_property
    def without_summary(self) -> str:
        """Why there is no summary; empty when there is one."""
        if self.summary:
            return ""
        if self._find("metrics"):
            return "The file of metrics was removed since, or cannot be read."
        return "No step of this run wrote metrics."

    @cached_property
    def reason(self) -> str:
        """Why the candidate was registered, or was not; before it, why there was one."""
        reasons = [self.watched.get("reason"), self.summary.get("reason")]
        return "; ".join(filter(None, reasons))

    @cached_property
    def watched(self) -> dict[str, Any]:
        """What `monitor` found; empty when there is no such step."""
        return self._json("findings")

    @cached_property
    def scores(self) -> list[Score]:
        """Every metric, the deciding one first."""
        champion = self.summary.get("champion") or {}
        decides = history.deciding_metric(self.settings)
        found = [
            Score(name, value, champion.get(name), name == decides, history.lower_is_better(name))
            for name, value in self.record.metrics.items()
        ]
        return sorted(found, key=lambda score: not score.decides)

    @cached_property
    def importance(self) -> list[Feature]:
        """What the features are worth, the best first."""
        return _shares(self.summary.get("importance") or {})

    @cached_property
    def searches(self) -> list[Search]:
        """The searches for hyper-parameters, if a step made any."""
        return [
            Search(
                found,
                study.ranking(found),
                study.effort(found),
                charts.search(
                    [np.nan if t.value is None else t.value for t in found.trials],
                    [trial.state == "complete" for trial in found.trials],
                    lower=found.lower_is_better,
                    metric=found.metric,
                ),
                _shares(found.importance),
            )
            for found in self._studies.values()
        ]

    @cached_property
    def judgement(self) -> Judgement | str:
        """The predictions in pictures; or why there are none."""
        try:
            return evidence.judge(self._frame("predictions"), self._labels)
        except NothingToShowError as missing:
            return str(missing)

    @cached_property
    def profile(self) -> Profile | str:
        """The data, training and held-out examples together; or why there is none."""
        names = [name for name in ("train_data", "test_data") if self._find(name)]
        try:
            if not names:
                raise NothingToShowError("No step of this run wrote train_data or test_data.")
            parts = [self._frame(name, cells=MOST_CELLS) for name in names]
        except NothingToShowError as missing:
            return str(missing)
        rows = sum(int(artifact.metadata.get("rows", 0)) for _, artifact in self.data)
        return evidence.profile(pd.concat(parts), rows)

    @cached_property
    def data(self) -> list[tuple[str, Artifact]]:
        """The data sets of this run that know what they are: their SHA-256 and number of rows."""
        return [
            (name, artifact)
            for step in self.steps.values()
            for name, artifact in step.artifacts.items()
            if "sha256" in artifact.metadata and "rows" in artifact.metadata
        ]

    @cached_property
    def sections(self) -> list[card.Section]:
        """The team's part of the model card."""
        return card.sections()

    @cached_property
    def seeds(self) -> dict[str, Any]:
        """The seed of every step that has one."""
        return {step: values["seed"] for step, values in self.settings.items() if "seed" in values}

    @cached_property
    def beside(self) -> list[str]:
        """The other files in the folder of the run."""
        names = {path.name for path in self.folder.iterdir() if path.is_file()}
        return sorted(name for name in names - {PAGE} if not name.startswith("."))

    @cached_property
    def _studies(self) -> dict[str, Study]:
        return study.searches(self.steps)

    @property
    def _found(self) -> dict[str, Any]:
        """With what `train` trained in place of what was configured."""
        return self._studies["train"].found if "train" in self._studies else {}

    @property
    def _labels(self) -> list[str]:
        """The labels in the order in which the project lists them."""
        labels = self._json("curves").get("labels")
        return [str(label) for label in labels] if isinstance(labels, list) else []

    def _json(self, name: str) -> dict[str, Any]:
        """An artifact that holds a JSON object; empty when it is missing or something else."""
        found = self._find(name)
        try:
            content = json.loads(Path(found.uri).read_text("utf-8")) if found else {}
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _find(self, name: str) -> Artifact | None:
        found = (step.artifacts.get(name) for step in self.steps.values())
        return next((artifact for artifact in found if artifact), None)

    def _frame(self, name: str, cells: int | None = None) -> pd.DataFrame:
        """An artifact that holds a table: all of it, or its first so many cells."""
        found = self._find(name)
        if found is None:
            raise NothingToShowError(f"No step of this run wrote {name}.")
        try:
            file = pyarrow.parquet.ParquetFile(found.uri)
            width = len(file.schema_arrow.names)
            if cells is None or file.metadata.num_rows * width <= cells:
                rows = file.read()
            else:
                rows = next(file.iter_batches(batch_size=max(cells // width, 1)))
            frame: pd.DataFrame = rows.to_pandas()
            return frame
        except FileNotFoundError:
            raise NothingToShowError(f"The file of {name} was removed since.") from None
        except (OSError, ValueError) as error:
            raise NothingToShowError(f"The file of {name} cannot be read: {error}") from None


def _shares(values: Mapping[str, float]) -> list[Feature]:
    largest = max(values.values(), default=0)
    return [
        Feature(name, value, max(value / largest, 0.0) if largest > 0 else 0.0)
        for name, value in values.items()
    ]


if __name__ == "__main__":
    screen.start(report)
