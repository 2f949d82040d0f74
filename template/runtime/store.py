"""The model store of an environment: registered models, and which one is released.

Below its URI (a folder, or any that fsspec writes): `<model id>/model/` and
`<model id>/record.json` for each registered model, beside them `sample.json` (rows to ask it with),
`profile.json` (what it was asked and answered when it was judged, `runtime.reference`) and, once it
is released, `answers-<image>.json` (what the server's image answers to the sample);
`champion.json` for the released one.
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
RECORD = "record.json"
SAMPLE = "sample.json"
PROFILE = "profile.json"
ID_LENGTH = 12


def model_id(sha256: str) -> str:
    """The short name of a model: the first hex digits of its SHA-256."""
    return sha256[:ID_LENGTH]


class ModelStore:
    """Models that outlive the runs which made them."""

    def __init__(self, uri: str) -> None:
        self._files, self._root = fsspec.core.url_to_fs(uri)
        self._local = isinstance(self._files, LocalFileSystem)

    def find(self, model: str) -> ModelRecord | None:
        """The record of a registered model by its id, or None."""
        path = f"{self._root}/{model}/{RECORD}"
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
        rows: list[dict[str, Any]] = self._read(f"{model}/{SAMPLE}").get("instances", [])
        return rows

    def profile(self, model: str) -> dict[str, Any] | None:
        """The reference profile of a registered model; None when it has none."""
        return self._read(f"{model}/{PROFILE}") or None

    def keep_profile(self, model: str, profile: Mapping[str, Any]) -> None:
        """Keep the reference profile of a registered model."""
        self._write(f"{model}/{PROFILE}", dict(profile))

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

        `summary` is what `evaluate` wrote: `candidate` and `champion` scores, the `reason`, a
        `sample` of rows, and the `profile` of all that it judged. A model is known by its hash: one
        that is registered already keeps the record it has.
        """
        name = model_id(sha256)
        known = self.find(name)
        if summary.get("sample") and not (known and self.sample(name)):
            self._write(f"{name}/{SAMPLE}", {"instances": summary["sample"]})
        if summary.get("profile") and not (known and self.profile(name)):
            self.keep_profile(name, summary["profile"])
        if known:
            return known
        for file in sorted(model.iterdir()):
            self._put(file, f"{name}/model/{file.name}")
        record = ModelRecord(
            model_id=name,
            sha256=sha256,
            uri=self._uri(name),
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
        self._write(f"{name}/{RECORD}", record.model_dump())
        return record

    def download(self, model: str, folder: Path) -> Path:
        """Copy all that is kept of a registered model into a local folder and return it."""
        source = f"{self._root}/{model}"
        for path in self._files.find(source):
            target = folder / path.removeprefix(f"{source}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(path, str(target))
        return folder

    def put(self, folder: Path) -> None:
        """Bring the files that were downloaded from another store; `enter` makes it registered."""
        model = ModelRecord.from_json((folder / RECORD).read_text()).model_id
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            if file != folder / RECORD:
                self._put(file, f"{model}/{file.relative_to(folder).as_posix()}")

    def enter(self, record: ModelRecord) -> ModelRecord:
        """Register a model whose files are here by its record of another store; return the new."""
        own = record.model_copy(update={"uri": self._uri(record.model_id)})
        self._write(f"{own.model_id}/{RECORD}", own.model_dump())
        return own

    def answers(self, model: str, image: str) -> list[dict[str, Any]]:
        """What an image's server answers to the sample of a model; empty when nobody asked it."""
        rows: list[dict[str, Any]] = self._read(f"{model}/{_answers(image)}").get("predictions", [])
        return rows

    def keep_answers(self, model: str, image: str, rows: list[dict[str, Any]]) -> None:
        """Keep what an image's server answers to the sample of a model, a row for each of it."""
        self._write(f"{model}/{_answers(image)}", {"image": image, "predictions": rows})

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
        sha256: str = self._read(CHAMPION).get("sha256", "")
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

    def _uri(self, model: str) -> str:
        target = f"{self._root}/{model}/model"
        return target if self._local else self._files.unstrip_protocol(target)

    def _put(self, file: Path, name: str) -> None:
        self._make_folder(f"{self._root}/{name}")
        self._files.put_file(str(file), f"{self._root}/{name}")

    def _make_folder(self, path: str) -> None:
        # An object store has no folders, and a bucket is not made by a slip in its name.
        if self._local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)

    def _read(self, name: str) -> dict[str, Any]:
        """What `_write` wrote; empty when it is not there."""
        path = f"{self._root}/{name}"
        if not self._files.exists(path):
            return {}
        found: dict[str, Any] = json.loads(self._files.cat_file(path))
        return found

    def _write(self, name: str, content: dict[str, Any]) -> None:
        path = f"{self._root}/{name}"
        self._make_folder(path)
        text = json.dumps(content, indent=2) + "\n"
        # Object stores write whole objects; a local file is made whole by the rename.
        if self._local:
            part = Path(path).with_suffix(".part")
            part.write_text(text)
            part.replace(path)
        else:
            self._files.pipe_file(path, text.encode())


def _answers(image: str) -> str:
    """The file of an image's answers; `image` ends with its digest, `sha256:` and 64 hex digits."""
    return f"answers-{image.rpartition(':')[2][:ID_LENGTH]}.json"
