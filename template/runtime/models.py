"""Models on disk, in formats that run no code when they are read.

A model is a folder: `pipeline.skops` (the scikit-learn pipeline, preprocessing included),
`booster.ubj` beside it when the estimator is XGBoost's, and `manifest.json` with the SHA-256 of
each. The model's own SHA-256 is that of its manifest, so it covers every byte.
"""

import copy
import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import ProjectError

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

MANIFEST = "manifest.json"
PIPELINE = "pipeline.skops"
SCHEMA = "schema.json"
BOOSTER = "booster.ubj"
# What skops does not trust by itself and holds data only.
TRUSTED = frozenset(
    {
        "numpy.dtype",
        "sklearn.compose._column_transformer._RemainderColsList",
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.tree._tree.Tree",
    }
)
VERSIONED = ("scikit-learn", "xgboost", "xgboost-cpu", "numpy", "skops")


def save(pipeline: "Pipeline", folder: Path) -> str:
    """Write a fitted pipeline to a folder and return the model's SHA-256 (64 hex digits)."""
    import skops.io

    folder.mkdir(parents=True, exist_ok=True)
    shell, booster = _take_booster(pipeline)
    if booster is not None:
        booster.save_model(folder / BOOSTER)
    (folder / PIPELINE).write_bytes(_canonical(skops.io.dumps(shell)))
    names = [name for name in (BOOSTER, PIPELINE) if (folder / name).exists()]
    manifest = {
        "booster": type(booster).__name__ if booster is not None else None,
        "files": {name: _sha256(folder / name) for name in names},
        "versions": _versions(),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    return digest(folder)


def digest(folder: Path) -> str:
    """The SHA-256 of a model in a folder (64 hex digits)."""
    return _sha256(folder / MANIFEST)


def transfer(source: str, target: str) -> None:
    """Copy a model from one path or URI to another; its manifest comes last."""
    import fsspec

    come_from, old = fsspec.core.url_to_fs(source)
    go_to, new = fsspec.core.url_to_fs(target)
    go_to.makedirs(new, exist_ok=True)
    names = [path.rpartition("/")[2] for path in come_from.ls(old, detail=False)]
    for name in sorted(names, key=MANIFEST.__eq__):
        go_to.pipe_file(f"{new}/{name}", come_from.cat_file(f"{old}/{name}"))


def load(folder: Path, *, sha256: str, trusted_packages: Sequence[str] = ()) -> "Pipeline":
    """Read a pipeline back, once its bytes have been verified.

    `trusted_packages` may define functions and classes that the model refers to by name: the
    project's own package.

    Raises:
        ProjectError: a file is missing, changed or truncated, or the model refers to a type that
            is neither data nor from a trusted package.
    """
    import skops.io

    manifest = verify(folder, sha256=sha256)
    trusted = _trusted(folder / PIPELINE, trusted_packages)
    pipeline: Pipeline = skops.io.load(folder / PIPELINE, trusted=trusted)
    if manifest["booster"]:
        import xgboost

        booster = getattr(xgboost, manifest["booster"])()
        booster.load_model(folder / BOOSTER)
        _put_booster(pipeline, booster)
    return pipeline


def verify(folder: Path, *, sha256: str) -> dict[str, Any]:
    """Compare every byte of a model with its SHA-256 and return the manifest.

    Raises:
        ProjectError: a file is missing or differs.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise ProjectError(f"there is no model in {str(folder)!r}: {MANIFEST} is missing")
    if _sha256(path) != sha256:
        raise ProjectError(f"the model in {str(folder)!r} is not the one with SHA-256 {sha256}")
    manifest: dict[str, Any] = json.loads(path.read_text())
    for name, expected in manifest["files"].items():
        if not (folder / name).exists():
            raise ProjectError(f"the model in {str(folder)!r} is incomplete: {name} is missing")
        if _sha256(folder / name) != expected:
            raise ProjectError(f"the model in {str(folder)!r} was changed: {name} differs")
    return manifest


def _trusted(path: Path, packages: Sequence[str]) -> list[str]:
    import skops.io

    prefixes = tuple(f"{package}." for package in ("runtime", *packages))
    unknown = skops.io.get_untrusted_types(file=path)
    foreign = sorted(t for t in unknown if t not in TRUSTED and not t.startswith(prefixes))
    if foreign:
        raise ProjectError(
            f"the model refers to {', '.join(foreign)}, which may run code when loaded: use "
            "scikit-learn's own transformers, or functions of your own package"
        )
    return list(unknown)


def _take_booster(pipeline: "Pipeline") -> tuple["Pipeline", Any]:
    from sklearn.pipeline import Pipeline

    name, last = pipeline.steps[-1]
    booster = getattr(last, "estimator_", last)
    if not type(booster).__module__.startswith("xgboost."):
        return pipeline, None
    shell = Pipeline(pipeline.steps[:-1])
    if booster is last:
        shell.steps.append((name, "passthrough"))
    else:
        wrapper = copy.copy(last)
        # Both hold a booster; only the fitted one is the model, and it travels as UBJ.
        wrapper.estimator = wrapper.estimator_ = None
        shell.steps.append((name, wrapper))
    return shell, booster


def _put_booster(shell: "Pipeline", booster: Any) -> None:
    name, last = shell.steps[-1]
    if last == "passthrough":
        shell.steps[-1] = (name, booster)
    else:
        last.estimator = last.estimator_ = booster


def _canonical(archive: bytes) -> bytes:
    """The same skops archive without what differs between two equal models.

    skops names objects by their address in memory, and zip keeps the time of writing.
    """
    numbers: dict[str, int] = {}

    def number(address: str) -> int:
        return numbers.setdefault(address, len(numbers) + 1)

    def rename(node: dict[str, Any]) -> dict[str, Any]:
        if isinstance(node.get("__id__"), int):
            node["__id__"] = number(str(node["__id__"]))
        if isinstance(node.get("file"), str) and Path(node["file"]).stem.isdigit():
            node["file"] = renamed(node["file"])
        return node

    def renamed(file: str) -> str:
        return f"{number(Path(file).stem)}{Path(file).suffix}"

    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(target, "w") as new:
        schema = json.dumps(json.loads(old.read(SCHEMA), object_hook=rename), indent=2)
        contents = {renamed(n): old.read(n) for n in old.namelist() if n != SCHEMA}
        for name, content in [(SCHEMA, schema.encode()), *sorted(contents.items())]:
            new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return target.getvalue()


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
