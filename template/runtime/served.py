"""A model on its way to the server: found, copied to this machine, its bytes verified."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime import models
from runtime.errors import ProjectError
from runtime.records import ModelRecord
from runtime.store import SAMPLE, ModelStore, model_id


@dataclass(frozen=True)
class Found:
    """A verified model on this machine's disk, and rows to try it with."""

    folder: Path
    record: ModelRecord
    sample: list[dict[str, Any]]


def released(store: ModelStore) -> str:
    """The id of the released model.

    Raises:
        ProjectError: none is released.
    """
    sha256 = store.champion()
    if not sha256:
        raise ProjectError("no model is released in this model store")
    return model_id(sha256)


def fetched(store: ModelStore, model: str, into: Path) -> Found:
    """Copy a registered model from its store and verify it.

    Raises:
        ProjectError: it is not there, or was changed.
    """
    record = store.find(model)
    if record is None:
        raise ProjectError(f"no model {model!r} is registered in this model store")
    store.fetch(record.sha256, into)
    models.verify(into, sha256=record.sha256)
    return Found(into, record, store.sample(model))


def from_folder(folder: Path) -> Found:
    """Verify a model that was copied here with its record.

    Raises:
        ProjectError: it is not there, or was changed.
    """
    path = folder / "record.json"
    if not path.exists():
        raise ProjectError(f"there is no model in {str(folder)!r}: record.json is missing")
    record = ModelRecord.from_json(path.read_text())
    models.verify(folder / "model", sha256=record.sha256)
    sample = folder / SAMPLE
    rows = json.loads(sample.read_text())["instances"] if sample.exists() else []
    return Found(folder / "model", record, rows)
