"""Past runs: where they are, and how the numbers in their records are to be read."""

import ast
import difflib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from runtime.errors import ProjectError
from tools.project import ROOT, project

RECORD = "run.json"
# What a name says of a metric that evaluation.py does not list.
_ERRORS = re.compile(r"(^|_)(brier|error|loss|mae|mape|mse|msle|rmse|rmsle)(_|$)")


def artifacts(environment: str) -> Path:
    """The folder of what is kept here of this environment's runs."""
    found = project().environment(environment)
    # What runs on a cluster write is there; here are their records.
    return ROOT / (f"artifacts/{environment}" if found.namespace else found.artifact_root)


def folders(environment: str) -> list[Path]:
    """The folder of every run, the oldest first."""
    return sorted(path for path in (artifacts(environment) / "runs").glob("*") if path.is_dir())


def none_yet(environment: str, pipeline: str = "") -> str:
    """That there is no run, of a pipeline or of any, and what is typed to make one."""
    what = f"run of {pipeline}" if pipeline else "run"
    return f"no {what} in {environment} yet: `{typed(environment, pipeline)}` makes one"


def typed(environment: str, pipeline: str = "") -> str:
    """The verb that runs a pipeline in an environment, training if none is named."""
    words = ["make run"]
    if project().environment(environment).namespace:
        words.append("RUNNER=cluster")
    if pipeline not in ("", "training"):
        words.append(f"PIPELINE={pipeline}")
    if environment != "local":
        words.append(f"ENV={environment}")
    return " ".join(words)


def find(environment: str, run_id: str = "") -> Path:
    """The folder of a run that left a record: the named one, or the newest.

    Raises:
        ProjectError: there is none.
    """
    recorded = {path.name: path for path in folders(environment) if (path / RECORD).exists()}
    if not recorded:
        raise ProjectError(none_yet(environment))
    if not run_id:
        return recorded[max(recorded)]
    if run_id not in recorded:
        near = difflib.get_close_matches(run_id, recorded, n=3) or sorted(recorded)[-3:]
        raise ProjectError(f"there is no run {run_id!r}: RUN is one of {', '.join(near)} …")
    return recorded[run_id]


def deciding_metric(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """The metric that decides about a candidate, by the settings of its run; empty if none does."""
    return str(settings.get("evaluate", {}).get("metric", ""))


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value is the better one.

    The project's evaluation.py says so in `LOWER_IS_BETTER`; without it, the metric's name does.
    """
    listed = _listed()
    return bool(_ERRORS.search(metric)) if listed is None else metric in listed


@cache
def _listed() -> frozenset[str] | None:
    # Read, not imported: scikit-learn alone would take longer than a whole report.
    path = ROOT / "src" / project().package / "evaluation.py"
    try:
        tree = ast.parse(path.read_text())
    except (OSError, SyntaxError):
        return None
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LOWER_IS_BETTER":
            try:
                return frozenset(ast.literal_eval(node.value))
            except (TypeError, ValueError):
                return None
    return None
