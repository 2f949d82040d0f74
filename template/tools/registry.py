"""The registered models of an environment, and how a person names one."""

import json

from runtime.errors import ProjectError
from runtime.records import ModelRecord
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
    try:
        return store.champion()
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ProjectError(
            f"the model store {uri!r} cannot be read: {reason}. Is it there, and does this machine "
            "have a login to it?"
        ) from error


def newest(env: str) -> ModelRecord:
    """The model that was registered last.

    Raises:
        ProjectError: none is registered.
    """
    records = store(env).records()
    if not records:
        raise ProjectError(
            f"no model is registered in {env} yet: `make run` trains one, and registers it when it "
            "is good enough"
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
    if not path.exists():
        return ""
    step = json.loads(path.read_text())["steps"].get("register", {})
    model: str = step.get("parameters", {}).get("Output", "")
    if not model:
        raise ProjectError(f"the run {name} registered no model: it was not better, or it failed")
    return model
