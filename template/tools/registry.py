"""The registered models of an environment, and how a person names one."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import ProjectError
from runtime.records import ModelRecord, RunRecord
from runtime.sources import EXTRAS
from runtime.store import ModelStore, model_id
from tools import history
from tools.project import ROOT, project

MODELS_SHOWN = 5


def store(env: str) -> ModelStore:
    """The model store of an environment."""
    return opened(project().environment(env).model_store)


def opened(uri: str) -> ModelStore:
    """The model store at a folder of the project or a URI.

    Raises:
        ProjectError: what reads such a URI is not installed.
    """
    try:
        return ModelStore(uri if "://" in uri else str(ROOT / uri))
    except ImportError:
        extra = EXTRAS.get(uri.partition("://")[0])
        what = f'"runtime[{extra}]"' if extra else "the fsspec package for it"
        raise ProjectError(
            f"the model store {uri!r} needs a driver: add {what} to the group `tools` in "
            "pyproject.toml, then `make setup`"
        ) from None


def champion(uri: str) -> str:
    """SHA-256 of the released model; empty when nothing is released.

    Raises:
        ProjectError: the store does not answer.
    """
    store = opened(uri)
    with asking(uri):
        return store.champion()


@contextmanager
def asking(uri: str, what: str = "read") -> Iterator[None]:
    """Say in a sentence what a model store says by whatever its driver raises.

    Raises:
        ProjectError: the store does not answer, or refuses.
    """
    try:
        yield
    except ProjectError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ProjectError(
            f"the model store {uri!r} cannot be {what}: {reason}. Is it there, and does this "
            f"machine have a login by which it can be {what}?"
        ) from error


def newest(env: str) -> ModelRecord:
    """The model that was registered last.

    Raises:
        ProjectError: none is registered.
    """
    records = _records(env)
    if not records:
        raise ProjectError(
            f"no model is registered in {env} yet: `{history.typed(env)}` trains one, and "
            "registers it when it is good enough"
        )
    return records[-1]


def named(env: str, name: str) -> ModelRecord:
    """The registered model with this id, or of the run with this id.

    Raises:
        ProjectError: there is none; the newest ones are listed.
    """
    last = newest(env)
    found = store(env).find(_of_run(env, name) or name) if _is_name(name) else None
    if found is None:
        records = store(env).records()
        listed = ", ".join(record.model_id for record in records[: -MODELS_SHOWN - 1 : -1])
        what = "the newest registered models are" if len(records) > 1 else "the registered model is"
        raise ProjectError(f"no model is registered as RUN={name!r}: {what} {listed}")
    return found if found.model_id != last.model_id else last


def newest_of(places: Sequence[str]) -> ModelRecord:
    """The model that was registered last in one of these environments.

    Raises:
        ProjectError: none is registered.
    """
    found = [record for place in places for record in _records(place)[-1:]]
    return max(found, key=lambda record: record.registered_at) if found else newest(places[0])


def named_of(places: Sequence[str], name: str) -> ModelRecord:
    """The model of this id or run that is registered in one of these environments.

    Raises:
        ProjectError: there is none; the newest ones are listed.
    """
    model = model_of(places, name)
    for place in places if _is_name(model) else ():
        with asking(project().environment(place).model_store):
            record = store(place).find(model)
        if record:
            return record
    filled = [place for place in places if _records(place)]
    return named((filled or places)[0], name)


def model_of(places: Sequence[str], name: str) -> str:
    """The model that a run registered; what is no run of these environments is taken for one."""
    return next(filter(None, (_of_run(place, name) for place in places)), name)


def run_of(places: Sequence[str], model: str) -> str:
    """The first run by which a model was registered; empty when its record is not here."""
    for place in places:
        for folder in history.folders(place):
            path = folder / history.RECORD
            if path.exists() and _output(path) == model:
                return folder.name
    return ""


def _records(env: str) -> list[ModelRecord]:
    with asking(project().environment(env).model_store):
        return store(env).records()


def released(env: str) -> ModelRecord:
    """The released model.

    Raises:
        ProjectError: none is released, or it is gone.
    """
    sha256 = store(env).champion()
    if not sha256:
        last = newest(env).model_id
        raise ProjectError(
            f"no model is released in {env} yet: `make release` releases the newest registered "
            f"one, {last}; RUN={last} takes it as it is"
        )
    found = store(env).find(model_id(sha256))
    if found is None:
        raise ProjectError(
            f"the released model {model_id(sha256)} is not in the model store of {env} any more: "
            "`make release` releases another one"
        )
    return found


def _is_name(name: str) -> bool:
    return name.replace("-", "").isalnum()


def _of_run(env: str, name: str) -> str:
    """The id of the model that a run registered; empty when there is no such run."""
    path = history.artifacts(env) / "runs" / name / history.RECORD
    if not _is_name(name) or not path.exists():
        return ""
    model = _output(path)
    if not model:
        raise ProjectError(
            f"the run {name} registered no model that is known here: it was not better, or it "
            "failed; of a run on a cluster, its page tells the model's id"
        )
    return model


def registered_by(record: RunRecord) -> str:
    """The id of the model that a run registered; empty when it registered none."""
    step = record.steps.get("register")
    model: str = step.parameters.get("Output", "") if step else ""
    return model


def _output(record: Path) -> str:
    step = json.loads(record.read_text())["steps"].get("register", {})
    model: str = step.get("parameters", {}).get("Output", "")
    return model
