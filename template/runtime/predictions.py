"""Answers for many rows at once."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
from sklearn.pipeline import Pipeline

from runtime import models, validation
from runtime.errors import ProjectError
from runtime.store import ModelStore


def released_model(model_store: str, champion: str, *, trusted: Sequence[str]) -> Pipeline:
    """Load the released model by its SHA-256, once every byte has been verified.

    Raises:
        ProjectError: nothing is released, or the model is missing or was changed.
    """
    if not champion:
        raise ProjectError("no model is released: `make run`, then `make release ENV=local`")
    with tempfile.TemporaryDirectory() as folder:
        ModelStore(model_store).fetch(champion, Path(folder))
        return models.load(Path(folder), sha256=champion, trusted_packages=trusted)


def predict(
    model: Pipeline,
    table: pd.DataFrame,
    *,
    schema: pa.DataFrameSchema,
    columns: Sequence[str],
    answer: Callable[[Pipeline, pd.DataFrame], Any],
) -> pd.DataFrame:
    """A row per row of the table: `answer` and, of a classifier, `probability <label>`.

    Raises:
        ProjectError: a row breaks the schema.
    """
    missing = [column for column in columns if column not in table]
    if missing:
        raise ProjectError(f"the table has no column {missing[0]!r}")
    inputs = table[list(columns)]
    problems = [str(violation) for violation in validation.violations(inputs, schema)]
    if problems:
        heading = "the table breaks the schema (rows count from 0):"
        raise ProjectError("\n".join([heading, *problems]))
    return answered(model, inputs, answer)


def beside(table: pd.DataFrame, keep: Sequence[str], answers: pd.DataFrame) -> pd.DataFrame:
    """Columns of the table, and the answers row by row: the table's index may have a value twice.

    Raises:
        ProjectError: there is no such column, or two would have one name.
    """
    for name in keep:
        if name not in table:
            raise ProjectError(f"predict.keep: the table has no column {name!r}")
        if name in answers or list(keep).count(name) > 1:
            raise ProjectError(
                f"predict.keep: there would be two columns {name!r}: list it once, and in `read` "
                "rename a column that has the name of an answer"
            )
    return pd.concat([table[list(keep)], answers], axis=1)


def answered(
    model: Pipeline, inputs: pd.DataFrame, answer: Callable[[Pipeline, pd.DataFrame], Any]
) -> pd.DataFrame:
    """The same for rows of which it is known that they keep the schema."""
    answers = pd.DataFrame({"answer": answer(model, inputs)}, index=inputs.index)
    if hasattr(model, "predict_proba"):
        probabilities = model.predict_proba(inputs)
        for label, column in zip(model.classes_, probabilities.T, strict=True):
            answers[f"probability {label}"] = column
    return answers
