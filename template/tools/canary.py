"""`make canary`: how many of the requests the newest release gets, and the one before it the rest.

The number is a line of the environment's overlay, so that git knows it as it knows the release.
"""

import re
from typing import Annotated, Any

import typer
import yaml

from runtime.errors import ProjectError
from tools import overlays, screen

KEY = "canaryTrafficPercent"
LINE = re.compile(rf"^(?P<before> +{KEY}: *)\d+", re.MULTILINE)
PREDICTOR = re.compile(r"^(?P<indent> +)predictor:[^\n]*\n", re.MULTILINE)


def canary(
    percent: Annotated[
        int | None, typer.Option(min=0, max=100, help="100 promotes, 0 aborts.")
    ] = None,
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "dev",
) -> None:
    """Write the percentage into the overlay; a deployment puts it in place."""
    if percent is None:
        raise ProjectError(
            "say how many of 100 requests the newest release gets, as in PERCENT=20; 100 promotes "
            "it, 0 aborts"
        )
    file = overlays.path(env) / "inference-service.yaml"
    where = overlays.file(env, file.name)
    text = file.read_text() if file.exists() else ""
    changed = written(text, percent)
    if changed is None:
        raise ProjectError(f"{where}: write `{KEY}: {percent}` there, below `predictor:`")
    if changed == text:
        screen.console.print(f"It is {percent} already.")
    else:
        file.write_text(changed)
        screen.console.print(f"{where}: {KEY} is {percent}.")
    screen.what_next(*meaning(percent, env))


def written(text: str, percent: int) -> str | None:
    """A patch with the percentage and all else as it was; None where that cannot be had."""
    if LINE.search(text):
        changed = LINE.sub(rf"\g<before>{percent}", text, count=1)
    else:
        changed = PREDICTOR.sub(rf"\g<0>\g<indent>  {KEY}: {percent}\n", text, count=1)
    try:
        wanted: Any = yaml.safe_load(text)
        wanted["spec"]["predictor"][KEY] = percent
        return changed if yaml.safe_load(changed) == wanted else None
    except (yaml.YAMLError, KeyError, TypeError):
        return None


def meaning(percent: int, env: str) -> tuple[str, ...]:
    """What comes next, by what the percentage is for."""
    deploy = f"Commit it, then `make deploy ENV={env}`"
    if percent == 100:
        return (f"{deploy}: all requests go to the newest release, now and when there is another.",)
    if percent == 0:
        return (
            f"{deploy}: all requests go to the release before the newest.",
            f"`make rollback ENV={env}` then makes that one the release again.",
        )
    return (
        f"{deploy}: {percent} of 100 requests go to the newest release, or to the next one that is "
        "deployed.",
        f"`make canary ENV={env} PERCENT=100` promotes it, PERCENT=0 aborts.",
    )


if __name__ == "__main__":
    screen.start(canary)
