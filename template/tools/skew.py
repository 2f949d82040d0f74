"""`make skew`: does the model server answer as the pipeline did?

The rows that were held out when the model was trained are sent to the real server, by both
protocols, one at a time and many at once. What it answers is held against what the step `evaluate`
of that run wrote down for the same rows: so code that has changed since is found out too.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import typer
from rich.table import Table

from runtime import datasets
from runtime.errors import ProjectError
from tools import predict, profiles, registry, screen
from tools.predict import Protocol, Row, Server
from tools.project import ROOT, project

TOLERANCE = 1e-6
"""How far two numbers may be apart, relative to the pipeline's."""
SMALLEST = 1e-6
"""What a number counts as at least: nobody acts upon the sixth digit of a millionth."""
ROWS_ALONE = 50
"""How many rows are also asked one by one; they are taken evenly from all of them."""
MOST_ROWS = 10_000


@dataclass(frozen=True)
class Difference:
    """Where the server's answer and the pipeline's are furthest apart, or first too far."""

    row: int
    column: str
    server: Any
    pipeline: Any

    def __str__(self) -> str:
        return (
            f"row {self.row}, column {self.column!r}: the pipeline says {self.pipeline!r}, the "
            f"server {self.server!r}"
        )


@dataclass(frozen=True)
class Replay:
    """Rows that were asked in one way, and how far the answers are from the pipeline's."""

    protocol: Protocol
    at_once: int
    rows: int
    worst: float
    """The largest relative difference; infinite where a label differs."""
    first: Difference | None
    """The first answer that differs too much."""


def skew(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    run: Annotated[str, typer.Option(help="A model's id or a run's; empty: the released.")] = "",
) -> None:
    """Ask the real server for held-out rows, and compare with what the pipeline predicted."""
    record = registry.named(env, run) if run else registry.released(env)
    rows, predictions = profiles.held_out(env, record, most=MOST_ROWS)
    store = project().environment(env).model_store
    variables = {
        "MODEL_STORE": store if "://" in store else str(ROOT / store),
        "MODEL": record.model_id,
        "MODEL_SHA256": record.sha256,
    }
    with screen.console.status("Asking the server"), started(variables) as server:
        replays = replayed(server, rows, predictions)
        left_out = sorted({*predictions} ^ {t["name"] for t in server.metadata["outputs"]})
    screen.console.print(table(replays))
    if left_out:
        screen.console.print(f"not compared: {screen.escape(', '.join(left_out))}")
    skewed = [replay for replay in replays if replay.first]
    if skewed:
        count = len(skewed)
        screen.fail(
            f"the server does not answer as the pipeline did, in {count} of {len(replays)} ways: "
            f"{skewed[0].first}. Has src/ or serving/predictor.py changed since model "
            f"{record.model_id} was trained? Then `make run` trains it again"
        )
    screen.what_next(
        f"The server answers as the pipeline did, for {len(rows)} rows of model {record.model_id}."
    )


@contextlib.contextmanager
def started(variables: Mapping[str, str]) -> Iterator[Server]:
    """The server as its container starts it, but on loopback, for as long as this is open.

    Raises:
        ProjectError: it does not start.
    """
    port = predict.free_port()
    given = {"HOST": predict.HOST, "PORT": str(port), "MODEL_NAME": project().name, **variables}
    command = [sys.executable, "-m", "serving"]
    with predict.listening(command, port, {**os.environ, **given}) as server:
        yield server


def replayed(server: Server, rows: pd.DataFrame, predictions: pd.DataFrame) -> list[Replay]:
    """Ask for the rows in every way there is.

    Raises:
        ProjectError: the server refuses a row, or answers nothing that was predicted.
    """
    inputs = [tensor["name"] for tensor in server.metadata["inputs"]]
    outputs = [tensor["name"] for tensor in server.metadata["outputs"]]
    compared = [name for name in predictions if name in outputs]
    if not compared:
        raise ProjectError(
            f"the server answers {', '.join(outputs)}, and `evaluate` wrote down "
            f"{', '.join(map(str, predictions))}: give one of them the same name in "
            "serving/predictor.py and src/*/evaluation.py"
        )
    asked = datasets.sample(rows[inputs], len(rows))
    alone = np.unique(np.linspace(0, len(rows) - 1, min(ROWS_ALONE, len(rows))).astype(int))
    found = []
    for protocol in Protocol:
        for at_once, numbers in ((1, alone), (predict.ROWS_AT_ONCE, np.arange(len(rows)))):
            said: list[Row] = []
            for start in range(0, len(numbers), at_once):
                part = numbers[start : start + at_once]
                said += server.ask([asked[i] for i in part], protocol, int(part[0]))
            answers = pd.DataFrame(said)[compared]
            known = predictions[compared].iloc[numbers]
            found.append(compare(protocol, at_once, numbers, answers, known))
    return found


def compare(
    protocol: Protocol,
    at_once: int,
    numbers: npt.NDArray[Any],
    answers: pd.DataFrame,
    known: pd.DataFrame,
) -> Replay:
    """Hold answers against the pipeline's; `numbers` says which rows they are of."""
    apart = np.column_stack([distance(answers[name], known[name]) for name in known])
    too_far = np.argwhere(apart > TOLERANCE)
    first = None
    if len(too_far):
        row, column = map(int, too_far[0])
        first = Difference(
            row=int(numbers[row]),
            column=str(known.columns[column]),
            server=plain(answers.iloc[row, column]),
            pipeline=plain(known.iloc[row, column]),
        )
    return Replay(protocol, at_once, len(known), float(apart.max()), first)


def distance(answers: pd.Series, known: pd.Series) -> npt.NDArray[np.float64]:
    """How far each answer is from the known one: relative for numbers, 0 or infinite for labels."""
    numeric = pd.api.types.is_numeric_dtype
    if numeric(answers) and numeric(known):
        said = answers.to_numpy(dtype="float64", na_value=np.nan)
        right = known.to_numpy(dtype="float64", na_value=np.nan)
        with np.errstate(invalid="ignore"):
            apart = np.abs(said - right) / np.maximum(np.abs(right), SMALLEST)
        same = (said == right) | (np.isnan(said) & np.isnan(right))
        return np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))
    pairs = zip(map(plain, answers), map(plain, known), strict=True)
    # V2 has only text for what is neither a number nor a truth value.
    return np.array([0.0 if a == k or str(a) == str(k) else np.inf for a, k in pairs])


def plain(value: Any) -> Any:
    """A value of a table as JSON has it, None where there is none."""
    if pd.isna(value):
        return None
    return value.item() if isinstance(value, np.generic) else value


def table(replays: list[Replay]) -> Table:
    """A line per way of asking."""
    shown = Table("protocol", "rows at once", box=None, pad_edge=False, header_style="dim")
    for title in ("rows", "worst difference"):
        shown.add_column(title, justify="right")
    for replay in replays:
        worst = "another label" if np.isinf(replay.worst) else f"{replay.worst:.1e}"
        shown.add_row(
            replay.protocol,
            "one" if replay.at_once == 1 else "many",
            f"{replay.rows:,}",
            worst if replay.worst else "none",
            style="red" if replay.first else None,
        )
    return shown


if __name__ == "__main__":
    screen.start(skew)
