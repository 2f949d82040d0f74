"""`make workshop`: the labs, what is done of them, and the page of one."""

import sys
from typing import Annotated

import typer
from rich.markdown import Markdown
from rich.table import Table
from rich.theme import Theme

from tools import screen
from tools.labs import progress
from tools.labs.lab import Lab, labs, named

HOUR = 60
"""Minutes."""
# Of the terminal's own colours, as it may be a light one or a dark one.
CODE = Theme({"markdown.code": "bold cyan"})
CODE_BLOCKS = "ansi_light"


def workshop(
    lab: Annotated[str, typer.Option(help="The number of a lab; empty: all of them.")] = "",
) -> None:
    """Show all labs, or one; on a terminal, a person chooses."""
    chosen = named(lab) if lab else None
    if chosen is None:
        show_all()
        chosen = asked() if sys.stdin.isatty() and screen.console.is_terminal else None
    if chosen is None:
        following = progress.read().next()
        if following:
            screen.what_next(f"`make workshop LAB={following.number}`: {following.title}.")
        else:
            screen.what_next("All labs are done. What would you change first at work?")
        return
    show(chosen)


def show_all() -> None:
    """The labs, what is done, and how long the others take."""
    known = progress.read()
    table = Table("", "lab", "", box=None, pad_edge=False, header_style="dim")
    table.add_column("minutes", justify="right")
    for lab in labs():
        seen = known.of(lab)
        done = "[green]✓[/]" if seen.done_at else "[yellow]·[/]" if seen.hints else ""
        needs = f" [dim]needs {screen.escape(lab.needs)}[/]" if lab.needs else ""
        title = screen.escape(lab.title) + needs
        table.add_row(str(lab.number), title, done, str(lab.minutes))
    screen.console.print(table)
    left = [lab for lab in labs() if not known.of(lab).done_at and not lab.needs]
    minutes = sum(lab.minutes for lab in left)
    screen.console.print(
        f"{len(known.done)} of {len(labs())} labs are done; of those that need a laptop only, "
        f"{minutes // HOUR} h {minutes % HOUR:02} min are left",
        style="dim",
        soft_wrap=True,
    )


def asked() -> Lab | None:
    """The lab that a person chooses; None when they leave."""
    import questionary

    known = progress.read()
    choices = [
        questionary.Choice(f"{lab.number:>2}  {lab.title}  ({lab.minutes} min)", value=lab)
        for lab in labs()
    ]
    following = known.next()
    start = next((c for c in choices if following and c.value == following), None)
    chosen: Lab | None = questionary.select(
        "Which lab? (Ctrl-C leaves)", choices=choices, default=start
    ).ask(kbi_msg="")
    return chosen


def show(lab: Lab) -> None:
    """The page of a lab, and remember where the project was when it was shown first."""
    progress.opened(lab)
    given = lab.prepare()
    facts = lab.facts
    parts = [f"# {lab.number}. {lab.title}", f"{lab.minutes} minutes"]
    parts += [section(name, facts[name]) for name in ("questions", "objectives")]
    parts += [lab.body, section("key points", facts["keypoints"])]
    page = "\n\n".join(parts)
    if screen.console.is_terminal:
        with screen.console.use_theme(CODE):
            screen.console.print(Markdown(page, code_theme=CODE_BLOCKS))
    else:
        screen.console.print(page, markup=False, soft_wrap=True)
    if given:
        screen.console.print(f"\n{given}", markup=False, soft_wrap=True)
    screen.console.print()
    screen.what_next(f"`make workshop-check LAB={lab.number}` says what is right, what is missing.")


def section(name: str, lines: list[str]) -> str:
    """A heading and a list, in Markdown."""
    return "\n".join([f"**{name.capitalize()}**", "", *(f"- {line}" for line in lines)])


if __name__ == "__main__":
    screen.start(workshop)
