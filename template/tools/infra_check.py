"""`make infra-check`: is what stands in infra/ well formed, valid, and refused where it has to be?

Nothing is asked of a cloud, and nobody has to be logged in: the modules' own tests mock it. All of
it happens in a copy, so that no state or backend of this checkout is touched.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from tools import screen
from tools.project import ROOT
from tools.terraform import require_terraform

INFRA = ROOT / "infra"
# Of providers, which weigh hundreds of megabytes each: one download for all folders.
CACHE = "TF_PLUGIN_CACHE_DIR"
INIT = ("init", "-backend=false", "-input=false")


def check() -> None:
    """Run every check, and show all that is wrong before leaving."""
    require_terraform()
    table = Table("folder", "", box=None, pad_edge=False, header_style="dim")
    table.add_column("seconds", justify="right")
    problems = []
    with tempfile.TemporaryDirectory(prefix="infra-") as name:
        copy = Path(name, "infra")
        shutil.copytree(INFRA, copy, symlinks=True, ignore=shutil.ignore_patterns(".terraform"))
        for folder, commands in plans(copy):
            place = str(Path("infra", folder.relative_to(copy)))
            started = time.perf_counter()
            with screen.console.status(f"Looking at {place}"):
                problem = first_problem(folder, commands, Path(name))
            if problem:
                problems.append(f"{place}:\n{problem}")
            seconds = f"{time.perf_counter() - started:.1f}"
            table.add_row(place, "[red]wrong[/]" if problem else "[green]good[/]", seconds)
    screen.console.print(table)
    if problems:
        screen.fail("\n\n".join(problems) + "\n\n→ `terraform fmt -recursive infra` mends style.")
    screen.what_next("`make infra-plan` shows what would change.")


def plans(infra: Path) -> Iterator[tuple[Path, list[tuple[str, ...]]]]:
    """Each folder of Terraform's, and what it is told to do there."""
    yield infra, [("fmt", "-check", "-recursive", "-diff")]
    for folder in sorted({path.parent for path in infra.rglob("*.tf")}):
        own = folder.relative_to(infra).parts[0] == "modules"
        # Its tests say more of a module than that it is valid: they make plans of it.
        yield folder, [INIT, ("test",) if own else ("validate",)]


def first_problem(folder: Path, commands: list[tuple[str, ...]], scratch: Path) -> str:
    """What the first command says that fails; empty if none does."""
    cache = scratch / "plugins"
    cache.mkdir(exist_ok=True)
    environment = {CACHE: str(cache), **os.environ}
    for verb, *options in commands:
        done = subprocess.run(
            ["terraform", verb, *options, "-no-color"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            return (done.stdout + done.stderr).strip()
    return ""


if __name__ == "__main__":
    screen.start(check)
