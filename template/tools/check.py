"""`make check`: everything that can be said about the project without running it."""

import subprocess
import time
from collections.abc import Callable

from rich.table import Table

from runtime.errors import ProjectError
from tools import overlays, screen
from tools.project import ROOT, project
from tools.screen import console


def settings() -> None:
    """All of config/, by the classes that will read it."""
    for step in project().steps:
        project().settings(step)
    _ = project().images
    for name in project().environments:
        project().environment(name)
    if (ROOT / "tools" / "payloads.py").exists():
        _ = project().payloads


def command(*words: str) -> Callable[[], None]:
    """A check that is another program."""

    def run() -> None:
        try:
            done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        except FileNotFoundError:
            raise ProjectError(f"{words[0]} is not there: `make setup` installs it") from None
        if done.returncode != 0:
            raise ProjectError((done.stdout + done.stderr).strip())

    return run


CHECKS: dict[str, Callable[[], None]] = {
    "settings": settings,
    "overlays": overlays.check,
    "lint": command("ruff", "check", "--quiet", "."),
    "format": command("ruff", "format", "--check", "."),
    "imports": command("lint-imports", "--no-logo"),
    "lock file": command("uv", "lock", "--check", "--offline"),
}
# What `make format` mends.
STYLE = {"lint", "format"}


def check() -> None:
    """Run every check, and show all that is wrong before leaving."""
    table = Table("check", "", box=None, pad_edge=False, header_style="dim")
    table.add_column("seconds", justify="right")
    wrong: set[str] = set()
    problems: dict[str, str] = {}
    for name, run in CHECKS.items():
        started = time.perf_counter()
        try:
            with console.status(name):
                run()
        except ProjectError as error:
            wrong.add(name)
            # Two checks that read the same file find the same in it.
            problems.setdefault(str(error), name)
        seconds = f"{time.perf_counter() - started:.1f}"
        table.add_row(name, "[red]wrong[/]" if name in wrong else "[green]good[/]", seconds)
    console.print(table)
    if problems:
        listed = [f"{name}:\n{problem}" for problem, name in problems.items()]
        advice = "`make format` mends style" if wrong & STYLE else "Mend what is named above"
        screen.fail("\n\n".join([*listed, f"→ {advice}; then `make check`."]))
    screen.what_next("`make test` runs the tests.")


if __name__ == "__main__":
    screen.start(check)
