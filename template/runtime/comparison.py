"""The champion's part of an evaluation, and the table that shows both."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sklearn.pipeline import Pipeline

from runtime import models
from runtime.store import ModelStore


def champion_scores(
    champion: str,
    model_store: str,
    trusted_packages: Sequence[str],
    scores: Callable[[Pipeline], dict[str, float]],
) -> tuple[dict[str, float] | None, str]:
    """Score the released model with the caller's function.

    Returns its scores and an empty string; or None and the reason: nothing is released, or today's
    code cannot run that model any more. The latter must not keep a team from moving on, and
    registering a candidate releases nothing.

    Raises:
        ProjectError: the released model is missing or was changed.
    """
    if not champion:
        return None, "nothing is released to compare it with"
    with tempfile.TemporaryDirectory() as folder:
        ModelStore(model_store).fetch(champion, Path(folder))
        models.verify(Path(folder), sha256=champion)
        try:
            loaded = models.load(Path(folder), sha256=champion, trusted_packages=trusted_packages)
            return scores(loaded), ""
        except Exception as error:
            return (
                None,
                f"the champion does not run with this code ({type(error).__name__}: {error})",
            )


def table(candidate: Mapping[str, float], champion: Mapping[str, float] | None, reason: str) -> str:
    """Markdown: a row per metric, candidate beside champion, and the reason below."""
    lines = ["| metric | candidate | champion |", "|---|---:|---:|"]
    for name, value in candidate.items():
        other = f"{champion[name]:.4f}" if champion else "none released"
        lines.append(f"| {name} | {value:.4f} | {other} |")
    return "\n".join([*lines, "", reason, ""])
