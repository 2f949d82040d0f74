"""Why the model answers what it does: SHAP values in the words of the data."""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from runtime.errors import ProjectError

PACKAGE = "shap"


def check() -> None:
    """Refuse to start without what explaining needs.

    Raises:
        ProjectError: shap is not installed.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise ProjectError(
            "EXPLAIN in serving/predictor.py needs shap: add it to the dependencies in "
            "serving/pyproject.toml, then `make setup`"
        )


def contributions(
    function: Callable[[pd.DataFrame], npt.NDArray[Any]],
    rows: pd.DataFrame,
    background: pd.DataFrame,
) -> list[dict[str, Any]]:
    """For each row a `baseline` and what each feature adds to it; together, the function's value.

    The baseline is the function's mean over the background: other rows to compare with. Any
    function of rows can be explained, and the contributions are of the columns as they are asked
    with, since preprocessing is part of the function.
    """
    import shap

    words = {
        name: pd.Index(pd.unique(pd.concat([background[name], rows[name]])))
        for name in rows.columns
        if not pd.api.types.is_numeric_dtype(rows[name])
    }

    def coded(frame: pd.DataFrame) -> npt.NDArray[np.float64]:
        codes = {name: index.get_indexer(frame[name]) for name, index in words.items()}
        return np.asarray(frame.assign(**codes), dtype="float64")

    def value(codes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        frame = pd.DataFrame(codes, columns=rows.columns)
        for name, dtype in rows.dtypes.items():
            if name in words:
                frame[name] = words[name].take(frame[name].astype(int))
            else:
                frame[name] = frame[name].astype(dtype)
        return np.asarray(function(frame), dtype="float64")

    known = coded(background[rows.columns])
    explainer = shap.PermutationExplainer(value, shap.maskers.Independent(known), seed=0)
    found = explainer(coded(rows), silent=True)
    baselines = np.broadcast_to(found.base_values, len(rows)).tolist()
    return [
        {"baseline": baseline, "contributions": dict(zip(rows.columns, values, strict=True))}
        for baseline, values in zip(baselines, found.values.tolist(), strict=True)
    ]
