"""Which rows are held out: decided by what is in a row, not by where it stands."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def drawn(rows: pd.DataFrame, *, fraction: float, seed: int) -> NDArray[np.bool_]:
    """For each row, whether it is held out: about that fraction of all.

    A row that is held out stays so when others join it, in whatever order, and on any machine: a
    model that was trained before has not seen it. Equal rows are on one side. A larger `fraction`
    adds rows to those of a smaller one; another `seed` draws anew.

    Give the columns by which to tell rows apart: all features, or the one number of a customer
    whose rows belong together.
    """
    cells = [pd.Series(seed, index=rows.index), *(_cells(column) for _, column in rows.items())]
    table = pd.DataFrame(dict(enumerate(cells)))
    draws = pd.util.hash_pandas_object(table, index=False).to_numpy()
    held: NDArray[np.bool_] = draws / 2.0**64 < fraction
    return held


def _cells(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """The column in the one form in which its cells are hashed, whatever stands in the others."""
    if column.dtype.kind not in "iuf":
        return column.map(str, na_action="ignore")
    # Whole numbers become floats when one is missing, and a CSV file loses the last digit of a
    # fraction: neither moves a row. Not every machine writes a missing number with the same bits.
    with np.errstate(over="ignore", invalid="ignore"):
        exact = column.astype("float64").fillna(0.0)
        return exact.where(exact % 1 == 0, exact.astype("float32"))
