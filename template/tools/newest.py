"""`make newest`: do the checks and tests pass with the newest packages there are today?

In a copy of the last commit, with an environment of its own: what a lock file keeps away shows here
months before somebody has to take it.
"""

import subprocess
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from runtime.errors import ProjectError
from tools import base, screen, template
from tools.project import ROOT

LOCK = "uv.lock"


def newest(
    verbs: Annotated[str, typer.Option(help="Of make, with a space between.")] = "check test",
) -> None:
    """Lock the newest versions in a copy, and run verbs there."""
    template.require_commit(template.origin().file)
    today = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    # It takes the place of `exclude-newer` in pyproject.toml, for every call of uv.
    variables = {**base.surroundings(), "UV_EXCLUDE_NEWER": today}
    with template.scratch() as copy:
        screen.notice("locks the newest versions, in a copy")
        lock = ["uv", "lock", "--upgrade", "--quiet"]
        if subprocess.run(lock, cwd=copy, env=variables).returncode:
            raise ProjectError("the newest packages do not fit together: the lines above say which")
        changed = differences(versions(ROOT), versions(copy))
        screen.console.print(table(changed) if changed else "There is nothing newer.")
        for verb in verbs.split():
            screen.notice(f"make {verb}")
            if subprocess.run(["make", verb], cwd=copy, env=variables).returncode:
                raise ProjectError(
                    f"`make {verb}` fails with the packages of today, and this project is as it "
                    "was: bound the one that is to blame in pyproject.toml, or go with it"
                )
    screen.what_next(f"`make {verbs}` succeeds with the packages of today, {today[:10]}.")


def versions(folder: Path) -> dict[str, str]:
    """The versions that a lock file has."""
    with (folder / LOCK).open("rb") as file:
        packages = tomllib.load(file)["package"]
    return {each["name"]: each["version"] for each in packages if "version" in each}


def differences(before: dict[str, str], after: dict[str, str]) -> list[tuple[str, str, str]]:
    """Name and versions of what is another one, or is there in one of them only."""
    names = sorted({*before, *after})
    rows = [(name, before.get(name, ""), after.get(name, "")) for name in names]
    return [row for row in rows if row[1] != row[2]]


def table(changed: list[tuple[str, str, str]]) -> Table:
    """A row for each package."""
    made = Table("package", "locked", "newest", box=None, pad_edge=False, header_style="dim")
    for row in changed:
        made.add_row(*row)
    return made


if __name__ == "__main__":
    screen.start(newest)
