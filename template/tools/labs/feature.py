"""Lab 3: a new feature, computed once for training and serving."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import ProjectError
from runtime.records import RunRecord
from tools.labs import past
from tools.labs.lab import Finding, Scope
from tools.project import ROOT, project

if TYPE_CHECKING:
    import pandas as pd

ALONE = 5
"""Rows that are also computed one by one."""
TOLERANCE = 1e-9
HOW = (
    "src/ says in features.py which numbers a model reads: `preprocessing()` returns transformers "
    "that are not fitted yet.",
    "Write a function there that takes a table and returns a table, one row for each; put it in a "
    "`FunctionTransformer`, and that into the list of `ColumnTransformer` with a name and the "
    "columns it takes.",
    'Such as ("ratio", FunctionTransformer(ratio), [two names of FEATURES in schema.py]), with '
    "`return frame.iloc[:, [0]] / (frame.iloc[:, [1]].to_numpy() + 1)` in `ratio`.",
)


def check(scope: Scope) -> Iterator[Finding]:
    """One column more than the first model had, the same for one row as for many, and trained."""
    first, runs = past.first_model(), past.succeeded()
    yield Finding(
        "a model was trained before",
        bool(first and runs),
        "there is no model yet to compare with",
        ("Lab 1 trains one: `make run`.",),
    )
    if first is None or not runs:
        return
    rows = examples(runs[-1])
    before = width(loaded(Path(first.uri), first.sha256), rows)
    try:
        fitted = fit(rows)
        whole = fitted.transform(rows)
    except Exception as error:  # The participant's own code.
        yield Finding(
            "the features can be computed",
            False,
            f"on the rows of the last run: {type(error).__name__}: {error}",
            (
                "Try it on a few rows: notebooks/01-explore.ipynb has them.",
                "The function gets a table with the columns you named, and no other.",
            ),
        )
        return
    count = whole.shape[1]
    yield Finding(
        "there is a new feature",
        count > before,
        f"the model reads {count} numbers of a row, as many as the first one ({before})",
        HOW,
    )
    if count <= before:
        return
    yield Finding("every number is finite", *finite(whole))
    yield Finding(
        "a row's features do not depend on the rows beside it",
        *independent(fitted, whole, rows),
    )
    yield Finding("the newest run trained with it", *trained(runs[-1], rows, count))


def finite(whole: Any) -> tuple[bool, str, tuple[str, ...]]:
    """Whether a model can read what was computed."""
    import numpy as np

    wrong = int((~np.isfinite(np.asarray(whole, dtype=float))).sum())
    return (
        not wrong,
        f"{wrong} numbers are missing or infinite",
        (
            "What is divided by zero, or the logarithm of nothing?",
            "Add a small number below the line of a fraction.",
        ),
    )


def independent(fitted: Any, whole: Any, rows: "pd.DataFrame") -> tuple[bool, str, tuple[str, ...]]:
    """Whether a server, which is asked for one row, computes what training did for many."""
    import numpy as np

    hints = (
        "A server is asked for one row: what is the mean of one row's column?",
        "What has to be learned from the training data is learned in `fit`, once: use a "
        "transformer that does, such as StandardScaler, and no mean, max or rank of your own.",
    )
    for at in range(min(ALONE, len(rows))):
        try:
            alone = np.asarray(fitted.transform(rows.iloc[[at]]), dtype=float)
        except Exception as error:  # The participant's own code.
            return False, f"of one row alone they cannot be computed: {error}", hints
        together = np.asarray(whole[[at]], dtype=float)
        if not np.allclose(alone, together, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
            return False, f"row {at} alone gives other numbers than among {len(rows)} rows", hints
    return True, "", ()


def trained(run: RunRecord, rows: "pd.DataFrame", count: int) -> tuple[bool, str, tuple[str, ...]]:
    """Whether the model of a run reads so many numbers, and the server's code answers with it."""
    hints = (
        "The code has changed since the last run.",
        "`make run`; if it fails, the log of the step says why.",
    )
    made = run.steps["train"].artifacts["model"]
    try:
        model = loaded(Path(made.uri), made.metadata["sha256"])
        if width(model, rows) != count:
            return False, "the newest run's model does not have it", hints
        if (ROOT / "serving" / "predictor.py").exists():
            predictor = importlib.import_module("serving.predictor")
            predictor.predict(predictor.load(Path(made.uri), made.metadata["sha256"]), rows[:1])
    except Exception as error:  # The participant's own code, or a file that is gone.
        return False, f"the newest run's model does not run with this code: {error}", hints
    return True, "", ()


def examples(run: RunRecord) -> "pd.DataFrame":
    """The rows that a run trained with.

    Raises:
        ProjectError: they are not here any more.
    """
    from runtime import datasets

    made = [
        artifact
        for name, artifact in run.steps["ingest"].artifacts.items()
        if name == "train_data" and Path(artifact.uri).exists()
    ]
    if not made:
        raise ProjectError("the data of the last run are not here any more: `make run` reads them")
    return datasets.read(made[0].uri)


def fit(rows: "pd.DataFrame") -> Any:
    """The features as the code now computes them, fitted."""
    schema = project().science("schema")
    features = project().science("features").preprocessing()
    return features.fit(rows[list(schema.FEATURES)], rows[schema.TARGET])


def loaded(folder: Path, sha256: str) -> Any:
    """A model, as the server loads it."""
    from runtime import models

    return models.load(folder, sha256=sha256, trusted_packages=[project().package])


def width(model: Any, rows: "pd.DataFrame") -> int:
    """How many numbers of a row a model's estimator reads."""
    count: int = model[:-1].transform(rows).shape[1]
    return count
