"""`make update-check`: is there a newer release of the template, and what would an update meet?"""

import json
from datetime import UTC, date, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from runtime.errors import ProjectError
from tools import screen, template
from tools.template import number


def update_check(
    as_json: Annotated[bool, typer.Option("--json", help="For a program.")] = False,
) -> None:
    """Compare the project's release with the newest; the exit code says whether to update."""
    made_from = template.origin()
    repository = template.repository(made_from)
    releases = template.releases(repository)
    has = number(made_from.version)
    own = next((release for release in releases if number(release.version) == has), None)
    newer = [each for each in releases if number(each.version) > has and not each.yanked]
    if not releases:
        raise ProjectError(f"the template {made_from.source} has no release")
    # Made between two releases, a project has none of its own.
    newest = newer[-1] if newer else own or releases[-1]
    done = template.run_hook("edited", newest, made_from, repository, capture=True)
    if done.returncode:
        raise typer.Exit(done.returncode)
    facts = {
        "release": made_from.version,
        "age_in_days": age(own.date) if own else None,
        "withdrawn": own.yanked if own else "",
        "newer": [release.version for release in newer],
        "edited": json.loads(done.stdout),
    }
    if as_json:
        screen.console.print_json(data=facts)
    else:
        show(facts)
    raise typer.Exit(1 if newer or facts["withdrawn"] else 0)


def age(since: str) -> int:
    """Days since a date."""
    return (datetime.now(UTC).date() - date.fromisoformat(since)).days


def show(facts: dict[str, Any]) -> None:
    """The facts for a person, and what to do about them."""
    days = facts["age_in_days"]
    old = "" if days is None else f", {days} days old"
    screen.console.print(f"this project has {facts['release']}{old}", soft_wrap=True)
    if facts["edited"]:
        table = Table("edited here", "better changed in", box=None, pad_edge=False)
        table.header_style = "dim"
        for edit in facts["edited"]:
            table.add_row(edit["path"], screen.escape(edit["extend"]))
        screen.console.print(table)
    if facts["withdrawn"]:
        screen.what_next(f"{facts['release']} was withdrawn: {screen.escape(facts['withdrawn'])}")
    if facts["newer"]:
        screen.what_next(
            f"Newer: {', '.join(facts['newer'])}. `make update PREVIEW=1` shows what the last of "
            "them would change."
        )
    elif not facts["withdrawn"]:
        screen.what_next("There is no newer release.")


if __name__ == "__main__":
    screen.start(update_check)
