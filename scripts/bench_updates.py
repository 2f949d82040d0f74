"""What updates cost, by the number of files and of projects: part of `make bench`.

Templates of plain files, of which a release changes every tenth: one for Copier, and an equal one
for Cookiecutter, which `cruft update` updates.
"""

import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from scripts import ledger
from scripts.ledger import Release
from scripts.quickstart import commit
from scripts.repository import ROOT, git
from scripts.screen import Refused

SIZES = (30, 120, 500)
FLEETS = (1, 20, 200)
OLD, NEW, DATE = "1.0.0", "2.0.0", "2026-11-22"
LINES = 40
CRUFT = "cruft>=2.16,<3"
TABLE = "files:\n  default:\n    - {class: managed, path: /folder/, since: [1, 0, 0], extend: .}\n"
# A process of its own: what is measured would be given the memory of the one that started it.
WATCH = """
import json, os, sys, time
started = time.perf_counter()
process = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(process, 0)
print()
print(json.dumps([time.perf_counter() - started, usage.ru_maxrss]))
sys.exit(os.waitstatus_to_exitcode(status))
"""
ANSWERS = "{{ _copier_conf.answers_file }}.jinja"


@dataclass(frozen=True)
class Cost:
    """What an update takes."""

    way: str
    projects: int
    files: int
    """Of each project."""
    seconds: float
    megabytes: float
    """The most memory that any of its processes had."""


def costs(
    folder: Path,
    rounds: int,
    environment: Mapping[str, str],
    cruft: Path | None,
    sizes: Sequence[int] = SIZES,
) -> list[Cost]:
    """Measure updates of projects of several sizes, in turns."""
    found = []
    for files in sizes:
        home = folder / str(files)
        template, project = by_copier_made(home, files, environment)
        options = [f"--to={NEW}", f"--repository={template}", "--no-lock", "--no-checks"]
        ways: dict[str, tuple[Path, Sequence[str | Path]]] = {
            "make update": (
                project,
                [sys.executable, template / "hooks/update.py", project, *options],
            ),
            "copier update": (
                project,
                [sys.executable, "-m", "copier", "update", "--quiet", "--defaults"],
            ),
        }
        if cruft:
            twin = by_cookiecutter_made(home, files, cruft, environment)
            ways["cruft update"] = (
                twin,
                [cruft, "update", "--skip-apply-ask", f"--checkout={NEW}"],
            )
        taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, (place, command) in ways.items():
                taken[way].append(measured(command, place, environment))
                undo(place)
        for way, figures in taken.items():
            seconds, megabytes = (
                statistics.median(column) for column in zip(*figures, strict=True)
            )
            found.append(Cost(way, 1, files, seconds, megabytes))
    return found


def fleet_costs(
    folder: Path, environment: Mapping[str, str], fleets: Sequence[int] = FLEETS, files: int = 30
) -> list[Cost]:
    """Measure `make fleet-update` of several numbers of projects, each once."""
    template, project = by_copier_made(folder, files, environment)
    (template / ledger.LEDGER).touch()
    ledger.append(template, Release(OLD, git(template, "rev-parse", OLD), DATE))
    ledger.append(template, Release(NEW, git(template, "rev-parse", NEW), DATE))
    commit(template, "The ledger")
    found = []
    for number in fleets:
        home = folder / f"fleet-{number}"
        for each in range(number):
            shutil.copytree(project, home / str(each), symlinks=True)
        listed = home / "fleet.txt"
        listed.write_text("".join(f"{home / str(each)}\n" for each in range(number)), "utf-8")
        command = [sys.executable, "-m", "scripts.fleet", "update", str(listed)]
        command += [f"--template={template}", f"--workspace={home / 'workspace'}"]
        taken = measured(command, ROOT, environment)
        found.append(Cost("make fleet-update", number, files, *taken))
    return found


def measured(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]
) -> tuple[float, float]:
    """Run a command and return how many seconds it took, and megabytes.

    Raises:
        Refused: it failed.
    """
    watched = [sys.executable, "-IS", "-c", WATCH, *map(str, command)]
    done = subprocess.run(
        watched, cwd=folder, env=environment, check=False, capture_output=True, text=True
    )
    if done.returncode:
        words = " ".join(map(str, command))
        raise Refused(f"{words} failed in {folder}:\n{done.stdout}{done.stderr}")
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    # Kilobytes on Linux, bytes on macOS.
    return seconds, memory / (1e6 if sys.platform == "darwin" else 1e3)


def undo(project: Path) -> None:
    """Bring back the project as it was made."""
    git(project, "switch", "--quiet", "--discard-changes", "main")
    git(project, "clean", "--quiet", "-fdx")
    for branch in git(project, "branch", "--format=%(refname:short)").split():
        if branch != "main":
            git(project, "branch", "--quiet", "-D", branch)


def by_copier_made(home: Path, files: int, environment: Mapping[str, str]) -> tuple[Path, Path]:
    """Make a template for Copier with two releases, and a project of the first."""
    template, project = home / "template", home / "project"
    (template / "questions").mkdir(parents=True)
    (template / "questions/90-files.yml").write_text(TABLE)
    (template / "copier.yml").write_text("_subdirectory: project\nname: {type: str, default: x}\n")
    shutil.copytree(ROOT / "hooks", template / "hooks")
    (template / "project").mkdir()
    (template / "project" / ANSWERS).write_text("{{ _copier_answers|to_nice_yaml }}")
    released(template, template / "project/folder", files)
    command = [sys.executable, "-m", "copier", "copy", "--quiet", "--defaults"]
    command += [f"--vcs-ref={OLD}", str(template), str(project)]
    measured(command, home, environment)
    return template, begun(project)


def by_cookiecutter_made(
    home: Path, files: int, cruft: Path, environment: Mapping[str, str]
) -> Path:
    """Make an equal template for Cookiecutter, and a project of its first release."""
    template, project = home / "cookiecutter", home / "twin"
    template.mkdir()
    (template / "cookiecutter.json").write_text(json.dumps({"name": project.name}))
    released(template, template / "{{cookiecutter.name}}/folder", files)
    measured([cruft, "create", template, "--no-input", f"--checkout={OLD}"], home, environment)
    return begun(project)


def released(template: Path, folder: Path, files: int) -> None:
    """Write the files of a template and release it twice."""
    folder.mkdir(parents=True)
    for number in range(files):
        (folder / f"{number}.py").write_text(f"LINE = {number}\n" * LINES)
    git(template, "init", "--quiet", "--initial-branch=main")
    commit(template, OLD)
    git(template, "tag", OLD)
    for number in range(0, files, 10):
        (folder / f"{number}.py").write_text(f"LINE = {number}\n" * LINES + "NEW = True\n")
    commit(template, NEW)
    git(template, "tag", NEW)


def begun(project: Path) -> Path:
    """Put a project into git."""
    git(project, "init", "--quiet", "--initial-branch=main")
    for key, value in (("user.name", "Bench"), ("user.email", "bench@example.com")):
        git(project, "config", key, value)
    commit(project, "Generated")
    return project


def find_cruft(environment: Mapping[str, str]) -> Path | None:
    """Find cruft, or fetch it from the package index; None where that does not answer."""
    words = ["uv", "tool", "run", "--from", CRUFT, "python", "-c", "import sys; print(sys.prefix)"]
    if not shutil.which("uv", path=environment["PATH"]):
        return None
    done = subprocess.run(words, env=environment, check=False, capture_output=True, text=True)
    return Path(done.stdout.strip(), "bin", "cruft") if done.returncode == 0 else None


def table(found: Sequence[Cost]) -> Table:
    """Show what updates cost; the ratio is that of each project to its `copier update`."""
    shown = Table("update", box=None, pad_edge=False, header_style="dim")
    for name in ("projects", "files", "seconds", "ratio", "MB"):
        shown.add_column(name, justify="right")
    floors = {cost.files: cost.seconds for cost in found if cost.way == "copier update"}
    for cost in found:
        ratio = f"{cost.seconds / cost.projects / floors[cost.files]:.2f}"
        values = (f"{cost.seconds:.2f}", ratio, f"{cost.megabytes:.0f}")
        shown.add_row(cost.way, str(cost.projects), str(cost.files), *values)
    return shown
