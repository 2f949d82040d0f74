"""What a person sees: a sentence per mistake, an exit code that says the same, what comes next."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape as escape
from rich.progress import Progress
from rich.progress import track as _track

T = TypeVar("T")

console = Console(highlight=False)
_errors = Console(stderr=True, highlight=False)


class Refused(Exception):
    """A sentence for the user: what is wrong, and what to do about it."""


def start(*commands: Callable[..., Any]) -> NoReturn:
    """Run a command with the arguments of the command line and leave with its exit code.

    Of several, the first argument names one. Typer leaves with 130 after Ctrl-C.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    for command in commands:
        app.command()(command)
    try:
        app()
    except Refused as refusal:
        _errors.print("[bold red]✗[/]", end=" ")
        _errors.print(str(refusal), markup=False, soft_wrap=True)
    sys.exit(1)


def say(message: str) -> None:
    """Show a line as it is: paths may hold what rich takes for markup."""
    console.print(message, markup=False, soft_wrap=True)


def what_next(*lines: str) -> None:
    """Show the last lines of a command."""
    for line in lines:
        console.print("[bold green]→[/]", end=" ")
        say(line)


def track(items: Iterable[T], doing: str, total: int) -> Iterable[T]:
    """Show how many of the items are done."""
    return _track(items, doing, total, console=console)


@contextmanager
def progress(doing: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how many are done, apart from the results; give what counts more of them."""
    with Progress(console=_errors, transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda more: bar.advance(task, more)
