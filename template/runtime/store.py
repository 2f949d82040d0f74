"""The model store of an environment: registered models, and which one is released.

Below its URI (a folder, or any that fsspec writes): `<model id>/model/` and
`<model id>/record.json` for each registered model, beside them `sample.json` (rows to ask it with),
and `champion.json` for the released one.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from runtime.errors import ProjectError
from runtime.records import Data, Lineage, ModelRecord

CHAMPION = "champion.json"
SAMPLE = "sample.json"
ID_LENGTH = 12


def model_id(sha256: str) -> str:
    """The short name of a model: the first hex digits of its SHA-256."""
    return sha256[:ID_LENGTH]


class ModelStore:
    """Models that outlive the runs which made them."""

    def __init__(self, uri: str) -> None:
        self._files, self._root = fsspec.core.url_to_fs(uri)

    def find(self, model: str) -> ModelRecord | None:
        """The record of a registered model by its id, or None."""
        path = f"{self._root}/{model}/record.json"
        if not self._files.exists(path):
            return None
        return ModelRecord.from_json(self._files.cat_file(path).decode())

    def records(self) -> list[ModelRecord]:
        """The records of all registered models, the newest last."""
        if not self._files.exists(self._root):
            return []
        names = [path.rpartition("/")[2] for path in self._files.ls(self._root, detail=False)]
        found = [record for record in map(self.find, names) if record]
        return sorted(found, key=lambda record: (record.registered_at, record.model_id))

    def sample(self, model: str) -> list[dict[str, Any]]:
        """Rows to ask a registered model with; empty when it was registered without."""
        path = f"{self._root}/{model}/{SAMPLE}"
        if not self._files.exists(path):
            return []
        rows: list[dict[str, Any]] = json.loads(self._files.cat_file(path))["instances"]
        return rows

    def register(
        self,
        model: Path,
        *,
        sha256: str,
        data: Data,
        summary: Mapping[str, Any],
        champion: str,
        lineage: Lineage,
        note: str,
    ) -> ModelRecord:
        """Keep a model's folder and its record, and return the record.

        `summary` is what `evaluate` wrote: `candidate` and `champion` scores, the `reason`, and a
        `sample` of rows. A model is known by its hash: one that is registered already keeps the
        record it has.
        """
        name = model_id(sha256)
        known = self.find(name)
        if summary.get("sample") and not (known and self.sample(name)):
            self._write(f"{name}/{SAMPLE}", {"instances": summary["sample"]})
        if known:
            return known
        target = f"{self._root}/{name}/model"
        self._files.makedirs(target, exist_ok=True)
        for file in sorted(model.iterdir()):
            self._files.put_file(str(file), f"{target}/{file.name}")
        local = isinstance(self._files, LocalFileSystem)
        record = ModelRecord(
            model_id=name,
            sha256=sha256,
            uri=target if local else self._files.unstrip_protocol(target),
            registered_at=datetime.now(UTC).isoformat(timespec="seconds"),
            data=data,
            metrics=summary["candidate"],
            champion=champion or None,
            champion_metrics=summary["champion"],
            reason=summary["reason"],
            lineage=lineage,
            note=note,
        )
        # The record comes last: a registration that was cut off is not one.
        self._write(f"{name}/record.json", record.model_dump())
        return record

    def release(self, model: str) -> None:
        """Make a registered model this environment's champion.

        Raises:
            ProjectError: no such model is registered.
        """
        record = self.find(model)
        if record is None:
            raise ProjectError(f"no model {model!r} is registered in {self._root!r}")
        self._write(
            CHAMPION,
            {
                "model_id": model,
                "sha256": record.sha256,
                "released_at": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )

    def champion(self) -> str:
        """SHA-256 of the released model; empty when nothing is released."""
        path = f"{self._root}/{CHAMPION}"
        if not self._files.exists(path):
            return ""
        sha256: str = json.loads(self._files.cat_file(path))["sha256"]
        return sha256

    def fetch(self, sha256: str, folder: Path) -> Path:
        """Copy a registered model's files into a local folder and return it.

        Raises:
            ProjectError: no such model is registered.
        """
        source = f"{self._root}/{model_id(sha256)}/model"
        if not self._files.exists(source):
            raise ProjectError(f"no model {model_id(sha256)!r} is registered in {self._root!r}")
        folder.mkdir(parents=True, exist_ok=True)
        for path in self._files.ls(source, detail=False):
            self._files.get_file(path, str(folder / path.rpartition("/")[2]))
        return folder

    def _write(self, name: str, content: dict[str, Any]) -> None:
        path = f"{self._root}/{name}"
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        text = json.dumps(content, indent=2) + "\n"
        # Object stores write whole objects; a local file is made whole by the rename.
        if isinstance(self._files, LocalFileSystem):
            part = Path(path).with_suffix(".part")
            part.write_text(text)
            part.replace(path)
        else:
            self._files.pipe_file(path, text.encode())
