"""Lab 7: serve the model and ask it; without a model server, predict for a whole table."""

import importlib
import json
from collections.abc import Iterator
from typing import Any

from runtime.errors import ProjectError
from runtime.records import ModelRecord
from tools import profiles
from tools.labs import past
from tools.labs.lab import Finding, Scope
from tools.project import ROOT, project

ROWS = 20
TOLERANCE = 1e-6
IMPOSSIBLE = 1e12
BATCH = "batch_prediction"


def check(scope: Scope) -> Iterator[Finding]:
    """What answers is the champion, as the pipeline knows it."""
    champion = past.champion()
    yield Finding(
        "a model is released",
        champion is not None,
        "there is no champion to ask",
        ("`make release`",),
    )
    if champion:
        online = (ROOT / "tools" / "serve.py").exists()
        yield from served(champion, scope) if online else predicted(champion, scope)


def served(champion: ModelRecord, scope: Scope) -> Iterator[Finding]:
    """A server that answers as the pipeline did, refuses what cannot be, and says more."""
    predict = importlib.import_module("tools.predict")
    url = scope.url or predict.URL
    server = predict.at(url)
    yield Finding(
        "a model server answers on this machine",
        server is not None,
        f"nothing answers at {url}",
        (
            "Which verb answers requests? It goes on until Ctrl-C: give it a terminal of its own.",
            "`make serve` in another terminal, and leave it there while you check. `make "
            "workshop-check URL=` takes another address.",
        ),
    )
    if server is None:
        return
    version = server.metadata["versions"][0]
    again = "The server reads model and code when it starts: stop it with Ctrl-C, and start it."
    yield Finding(
        "it answers with the champion",
        version == champion.model_id,
        f"it answers with model {version}, and {champion.model_id} is released",
        (again,),
    )
    rows, known = profiles.held_out(past.ENV, champion, most=ROWS)
    asked = json.loads(rows.to_json(orient="records", double_precision=15))
    inputs = [tensor["name"] for tensor in server.metadata["inputs"]]
    asked = [{name: row[name] for name in inputs if name in row} for row in asked]
    answers = server.ask(asked, predict.Protocol.v1)
    yield Finding(
        "it answers as the pipeline did",
        *same(answers, list(known.to_dict("index").values()), again),
    )
    yield Finding("it refuses what cannot be true", *refuses(server, asked[0]))
    new = sorted(set(answers[0]) - set(known.columns))
    yield Finding(
        "it answers something of your own",
        bool(new),
        "a client gets what it got before, and nothing more",
        (
            "What a client gets is what `predict` returns, in serving/predictor.py: a dict of "
            "columns, each with a value for every row.",
            "Add one: whether a person should look at the case, say, or the answer rounded.",
            again,
        ),
    )


def same(
    answers: list[dict[str, Any]], known: list[dict[Any, Any]], again: str
) -> tuple[bool, str, tuple[str, ...]]:
    """Whether the server answers held-out rows as the pipeline's evaluation did."""
    import math

    for number, (answer, expected) in enumerate(zip(answers, known, strict=True)):
        for name in expected.keys() & answer.keys():
            given, right = answer[name], expected[name]
            if isinstance(right, float) and isinstance(given, int | float):
                equal = math.isclose(given, right, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
            else:
                equal = given == right
            if not equal:
                return (
                    False,
                    f"row {number}: the server says {given!r} for {name!r}, the pipeline {right!r}",
                    ("`make skew` shows more.", again),
                )
    return True, "", ()


def refuses(server: Any, row: dict[str, Any]) -> tuple[bool, str, tuple[str, ...]]:
    """Whether a row with an impossible number is refused."""
    numbers = [name for name, value in row.items() if isinstance(value, float)]
    predict = importlib.import_module("tools.predict")
    for name in numbers:
        try:
            server.ask([{**row, name: IMPOSSIBLE}], predict.Protocol.v1)
        except ProjectError:
            return True, "", ()
    return (
        False,
        f"a row with {IMPOSSIBLE:g} in it was answered",
        (
            "What a row has to be like is said once, in schema.py, for training and serving.",
            "Give the columns their ranges back: `git diff src`.",
        ),
    )


def predicted(champion: ModelRecord, scope: Scope) -> Iterator[Finding]:
    """A run of the pipeline for whole tables, by the champion, with an answer for each row."""
    runs = past.succeeded(BATCH, scope)
    yield Finding(
        "a whole table was predicted",
        bool(runs),
        f"there is no run of `{BATCH}` that succeeded",
        ("Which pipelines are there? `ls pipelines`", f"`make run PIPELINE={BATCH}`"),
    )
    if not runs:
        return
    last = runs[-1]
    yield Finding(
        "by the champion",
        last.champion == champion.sha256,
        "another model was released then",
        (f"Run it again: `make run PIPELINE={BATCH}`",),
    )
    keep = last.lineage.settings.get("predict", {}).get("keep") or []
    yield Finding(
        "with a column by which a row is known again",
        bool(keep),
        "the answers stand alone: whose they are, nobody can tell",
        (
            "`predict:` in config/project.yaml has a list of columns that are kept beside answers.",
            f"`keep: [a column of {project().package}'s schema.py]`, and run it again.",
        ),
    )
