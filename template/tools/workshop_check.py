"""`make workshop-check`: what is right in a lab, what is missing, and one hint more each time."""

from typing import Annotated

import typer

from runtime.errors import ProjectError
from tools import screen, workshop_board
from tools.labs import progress
from tools.labs.lab import Finding, Lab, Scope, named


def check(
    lab: Annotated[str, typer.Option(help="The number of a lab; empty: the next one.")] = "",
    url: Annotated[str, typer.Option(help="Of the model server, where a lab asks it.")] = "",
) -> None:
    """Look at what the participant did, not at what it looks like."""
    chosen = named(lab) if lab else progress.read().next()
    if chosen is None:
        screen.what_next("All labs are done; `make workshop-check LAB=` looks at one again.")
        return
    screen.console.print(f"[bold]{chosen.number}. {screen.escape(chosen.title)}[/]")
    with screen.console.status("Looking at your project"):
        findings = looked_at(chosen, url)
    missing = next((each for each in findings if not each.right), None)
    for each in findings:
        show(each, missing)
    due = progress.checked(chosen, missing)
    workshop_board.tell(progress.read())
    if missing is None:
        following = progress.read().next()
        ahead = f"`make workshop LAB={following.number}`: {following.title}." if following else ""
        screen.what_next(f"Lab {chosen.number} is done. {ahead or 'So are all the others.'}")
        return
    hint(chosen, missing, due)
    raise typer.Exit(1)


def looked_at(lab: Lab, url: str) -> list[Finding]:
    """What a lab finds; what it cannot look at is missing too."""
    try:
        return lab.check(Scope(progress.read().of(lab).since, url))
    except ProjectError as error:
        return [Finding("the project can be looked at", False, str(error))]
    except Exception as error:  # The participant's own code, which is imported to be looked at.
        said = f"{type(error).__name__}: {error}"
        return [Finding("the code can be imported", False, said, ("`make check` names the line.",))]


def show(finding: Finding, first: Finding | None) -> None:
    """One line: what is so; of the first that is not, what is there instead; what comes later."""
    what = screen.escape(finding.what)
    if finding.right:
        line = f"[green]✓[/] {what}"
    elif finding is first:
        line = f"[red]✗[/] {what}: {screen.escape(finding.missing)}"
    else:
        line = f"[dim]· {what}[/]"
    screen.console.print(line, soft_wrap=True)


def hint(lab: Lab, missing: Finding, due: int) -> None:
    """As many hints about the first thing that is missing as are due."""
    for text in missing.hints[:due]:
        screen.console.print(f"  [cyan]hint[/]  {screen.escape(text)}", soft_wrap=True)
    again = f"`make workshop-check LAB={lab.number}`"
    more = len(missing.hints) - due
    if more > 0:
        screen.what_next(f"{again} when you have tried; it has {more} more hint{'s' * (more > 1)}.")
    else:
        screen.what_next(
            f"{again} when you have tried; that was the last hint. `make workshop-reset "
            f"LAB={lab.number}` begins again, and keeps what you did."
        )


if __name__ == "__main__":
    screen.start(check)
