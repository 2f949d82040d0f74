"""What a person sees: colours, errors in one sentence, no traceback for their own mistake."""

import atexit
import gc
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer
from rich.console import Console

from runtime.errors import ProjectError

# Bound to the streams as they are now: `make run` gives standard output to the steps.
console = Console(file=sys.stdout, highlight=False)
_errors = Console(file=sys.stderr, highlight=False)


def start(verb: Callable[..., Any]) -> NoReturn:
    """Run a verb with the arguments of the command line and leave with its exit code.

    Typer leaves with 2 after a wrong argument, and with 130 after Ctrl-C.
    """
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(verb)
    # At exit Python would look through every object once more; the process ends anyway.
    atexit.register(gc.freeze)
    try:
        app()
    except ProjectError as error:
        fail(str(error))
    sys.exit(0)


def fail(message: str) -> NoReturn:
    """Show what is wrong and leave."""
    _errors.print(f"[bold red]✗[/] {escape(message)}", soft_wrap=True)
    sys.exit(1)


def warn(message: str) -> None:
    """Show what a person should know, though it goes on."""
    _errors.print(f"[bold yellow]![/] {escape(message)}", soft_wrap=True)


def notice(line: str) -> None:
    """What is being done, where it takes a while or somebody may want to know."""
    _errors.print(f"[dim]·[/] {escape(line)}", soft_wrap=True)


def what_next(*lines: str) -> None:
    """The last lines of every verb."""
    for line in lines:
        console.print(f"[bold green]→[/] {line}", soft_wrap=True)


def escape(text: str) -> str:
    """Text in which rich sees no markup."""
    return text.replace("[", r"\[")
