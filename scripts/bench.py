"""`make bench`: what has a limit, measured, each figure beside its floor.

A floor is the least that the same machine could do: the measured command and its floor take turns,
so that both see the same noise, and the ratio of their medians is what has the limit.

copy            `copier copy` of the flavour laptop, beside a template of as many plain files, of
                the same sizes and at the same paths, with one question
unchanged run   a second `make run`, and the same without make, beside importing KFP
compile         a pipeline as an environment's Kubeflow takes it, beside importing KFP
step            a pipeline of many steps that do nothing, minus one of a single step, by step;
                beside starting Python and importing what KFP runs a step with
report, compare a run as a page, five hundred runs side by side
served          answers of the model server, beside a bare one of KServe that returns a constant
tags            the tags of all images when nothing has changed
edit            `make images` after an edit of one line, and which images it built; and what each
                image weighs. Where no container engine answers, it is said that these are left out
update          `make update QUICK=1`, beside `copier update`; then, of projects of 30 to 500
                files, with the memory that it takes, beside `cruft update` where there is one; and
                `make fleet-update` of up to 200 projects
drift           in a Parquet file of up to a million rows, beside reading it, with the memory
first run       a new project, its setup and its first run, with a package cache that is warm

The template is measured as it is committed.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from scripts import (
    bench_drift,
    bench_images,
    bench_serving,
    bench_updates,
    quickstart,
    render,
    screen,
    synthetic,
)
from scripts.bench_images import Images, Weight
from scripts.repository import ROOT, git, surroundings
from scripts.screen import Refused

STEPS = 10
LOOK = 2.0
TAGS = 2.0
DRIFT = 10.0
COMPONENT = """
@dsl.component(base_image="python:3.11-slim-bookworm", install_kfp_package=False)
def nothing_{number}(before: int) -> int:
    return before
"""
PIPELINE = '''"""Steps that do nothing."""

from kfp import dsl

{components}

@dsl.pipeline
def {name}() -> None:
    last = 0
{calls}
'''


@dataclass(frozen=True)
class Figure:
    """A measurement: medians, in seconds if its name says nothing else."""

    what: str
    seconds: float
    floor: float | None = None
    floor_what: str = ""
    limit: float | None = None
    """Of the ratio to the floor; of the seconds, when `absolute`."""
    absolute: bool = False
    rate: bool = False
    """Whether more is better, so that the ratio is upside down."""
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Return how many times its floor it takes."""
        if not self.floor:
            return None
        return self.floor / self.seconds if self.rate else self.seconds / self.floor

    @property
    def kept(self) -> bool | None:
        """Return whether the limit is kept, if there is one."""
        value = self.seconds if self.absolute else self.ratio
        return None if self.limit is None or value is None else value <= self.limit


def environment() -> Mapping[str, str]:
    """Give the environment of every measured command: a user's, whom git knows, who has uv."""
    kept = {k: v for k, v in surroundings().items() if k != "PYTHONDONTWRITEBYTECODE"}
    for who in ("AUTHOR", "COMMITTER"):
        kept |= {f"GIT_{who}_NAME": "Bench", f"GIT_{who}_EMAIL": "bench@example.com"}
    if "UV" in kept:
        kept["PATH"] = os.pathsep.join([str(Path(kept["UV"]).parent), kept["PATH"]])
    return kept


def seconds(command: Sequence[str | Path], folder: Path) -> float:
    """Run a command and return how long it took.

    Raises:
        Refused: it failed.
    """
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment(), check=False, capture_output=True, text=True
    )
    taken = time.perf_counter() - started
    if done.returncode:
        words = " ".join(map(str, command))
        raise Refused(f"{words} failed in {folder}:\n{done.stdout}{done.stderr}")
    return taken


def take_turns(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """Measure A B A B …, once each to warm up, and return the median of each."""
    for measure in measures:
        measure()
    taken = [[measure() for measure in measures] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def copy(folder: Path, rounds: int) -> Figure:
    """Measure `copier copy`."""
    template, synthetic = folder / "template", folder / "synthetic"
    # Both are packed, as what a user fetches is.
    git(folder, "clone", "--quiet", "--no-local", str(ROOT), str(template))
    render.generate("laptop", folder / "sample", template)
    generated = [path for path in (folder / "sample").rglob("*") if path.is_file()]
    twins = {path: Path("template", path.relative_to(folder / "sample")) for path in generated}
    # What else is in the repository, its tests for example, is fetched with it.
    others = (Path(name) for name in git(template, "ls-files").splitlines())
    twins |= {template / path: path for path in others if path.parts[0] != "template"}
    for path, twin in twins.items():
        (synthetic / twin).parent.mkdir(parents=True, exist_ok=True)
        (synthetic / twin).write_text("x" * path.stat().st_size)
    settings = "_subdirectory: template\nname: {type: str, default: x}\n"
    (synthetic / "copier.yml").write_text(settings)
    git(synthetic, "init", "--quiet")
    quickstart.commit(synthetic, "Plain files")
    git(synthetic, "gc", "--quiet")

    def copied(source: Path) -> float:
        command = [
            sys.executable,
            "-m",
            "copier",
            "copy",
            "--quiet",
            "--defaults",
            "--vcs-ref=HEAD",
        ]
        taken = seconds([*command, source, folder / "copy"], folder)
        shutil.rmtree(folder / "copy")
        return taken

    # The limit is close to the floor, and a copy is short: more rounds tell them apart.
    measured, floor = take_turns(3 * rounds, lambda: copied(template), lambda: copied(synthetic))
    return Figure(
        "copier copy", measured, floor, f"{len(generated)} plain files, one question", limit=1.15
    )


def unchanged_run(project: Path, rounds: int) -> list[Figure]:
    """Measure a run that repeats nothing."""
    python = project / ".venv/bin/python"
    made, bare, floor = take_turns(
        rounds,
        lambda: seconds(["make", "run"], project),
        lambda: seconds([python, "-m", "tools.run"], project),
        lambda: seconds([python, "-c", "import kfp"], project),
    )
    what = "import kfp"
    return [
        Figure("unchanged make run", made, floor, what, limit=1.5),
        Figure("unchanged tools.run", bare, floor, what, limit=1.5),
    ]


def compiling(project: Path, rounds: int) -> Figure:
    """Measure compiling the training pipeline for a cluster."""
    python = project / ".venv/bin/python"
    words = ["-m", "tools.compile", "--env", "dev", "--pipeline", "training"]
    # The limit is close to the floor.
    measured, floor = take_turns(
        3 * rounds,
        lambda: seconds([python, *words], project),
        lambda: seconds([python, "-c", "import kfp"], project),
    )
    return Figure("tools.compile", measured, floor, "import kfp", limit=1.2)


def step(project: Path, rounds: int) -> Figure:
    """Measure what a step costs that does nothing."""
    for name, count in (("many", STEPS + 1), ("single", 1)):
        components = "\n".join(COMPONENT.format(number=number) for number in range(count))
        calls = "\n".join(
            f"    last = nothing_{number}(before=last).output" for number in range(count)
        )
        text = PIPELINE.format(components=components, name=name, calls=calls)
        (project / f"pipelines/{name}.py").write_text(text)
    python = project / ".venv/bin/python"

    def run(name: str) -> float:
        shutil.rmtree(project / "artifacts/cache", ignore_errors=True)
        return seconds([python, "-m", "tools.run", "--pipeline", name], project)

    executor = "import os; os.environ['_KFP_RUNTIME'] = 'true'; import kfp.dsl.executor_main"
    many, single, floor = take_turns(
        rounds,
        lambda: run("many"),
        lambda: run("single"),
        lambda: seconds([python, "-c", executor], project),
    )
    return Figure(
        "a step that does nothing",
        (many - single) / STEPS,
        floor,
        "start Python, import KFP's executor",
        limit=0.2,
        absolute=True,
    )


def update(project: Path, folder: Path, rounds: int) -> Figure:
    """Measure `make update`, without locking and tests, beside Copier's own update."""
    template = folder / "releases"
    git(folder, "clone", "--quiet", str(ROOT), str(template))
    git(template, "tag", "99998.0.0")
    answers = project / ".copier-answers.yml"
    text = re.sub(r"_src_path: .*", f"_src_path: {template}", answers.read_text("utf-8"))
    answers.write_text(re.sub(r"_commit: .*", "_commit: 99998.0.0", text), encoding="utf-8")
    quickstart.commit(project, "Made by 99998.0.0")
    for tool in (template / "template/tools").glob("*.py"):
        tool.write_text(f"{tool.read_text('utf-8')}# Of the next release\n", encoding="utf-8")
    quickstart.commit(template, "The next release")
    git(template, "tag", "99999.0.0")
    home = git(project, "branch", "--show-current")

    def by_copier() -> float:
        command = [sys.executable, "-m", "copier", "update", "--quiet", "--defaults"]
        taken = seconds(command, project)
        git(project, "reset", "--quiet", "--hard")
        git(project, "clean", "--quiet", "-fd")
        return taken

    def by_make() -> float:
        taken = seconds(["make", "update", "QUICK=1"], project)
        git(project, "switch", "--quiet", home)
        git(project, "branch", "--quiet", "-D", "update-99999.0.0")
        return taken

    measured, floor = take_turns(rounds, by_make, by_copier)
    return Figure("make update, QUICK=1", measured, floor, "copier update", limit=1.3)


def first_run(project: Path) -> Figure:
    """Measure the way from nothing to the first finished run, and where the time goes."""
    parts = {}
    started = time.perf_counter()
    quickstart.create(project)
    parts["generate"] = time.perf_counter() - started
    parts["make setup"] = seconds(["make", "setup"], project)
    parts["make run"] = seconds(["make", "run"], project)
    record = json.loads(max(project.glob("artifacts/runs/*/run.json")).read_text("utf-8"))
    total = sum(parts.values())
    for name, details in record["steps"].items():
        parts[f"  {name}"] = details["seconds"]
    return Figure("nothing to first run", total, parts=parts)


def bench(
    rounds: Annotated[int, typer.Option(min=1, help="How often each command is timed.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure everything that has a limit."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name).resolve()
        # The first fills the package cache, should it be empty.
        first_run(folder / "warm-up")
        project = folder / "project"
        figures = [first_run(project), copy(folder, rounds), *unchanged_run(project, rounds)]
        # Before a step by itself is measured: that leaves other runs behind.
        figures.append(compiling(project, rounds))
        figures.append(update(project, folder, rounds))
        figures += looks(project, rounds)
        figures += served(project)
        figures.append(tags(project, rounds))
        weights: list[Weight] = []
        if engine_answers():
            images = Images(project, environment())
            figures.append(edit(images))
            weights = images.weights()
        figures.append(step(project, rounds))
        figures += drift(folder, rounds)
        cruft = bench_updates.find_cruft(environment())
        costs = bench_updates.costs(folder / "sizes", rounds, environment(), cruft)
        costs += bench_updates.fleet_costs(folder / "fleets", environment())
    if as_json:
        rows = [
            {**asdict(figure), "ratio": figure.ratio, "kept": figure.kept} for figure in figures
        ]
        print(json.dumps([*rows, *map(asdict, weights), *map(asdict, costs)], indent=2))
        return
    screen.console.print(table(figures))
    if weights:
        screen.console.print(scales(weights))
    else:
        screen.say("No container engine answers: nothing was built, and no image weighed.")
    screen.console.print(bench_updates.table(costs))
    if not cruft:
        screen.say("There is no uv, or no network, to fetch cruft by: it is left out.")
    missed = [figure.what for figure in figures if figure.kept is False]
    screen.what_next(f"Missed: {', '.join(missed)}." if missed else "Every limit is kept.")


def looks(project: Path, rounds: int) -> list[Figure]:
    """Measure the report of a run, and the comparison of five hundred."""
    (report,) = take_turns(rounds, lambda: seconds(["make", "report"], project))
    synthetic.write_runs(project, 500)
    (compare,) = take_turns(rounds, lambda: seconds(["make", "compare"], project))
    return [
        Figure("report", report, limit=LOOK, absolute=True),
        Figure("compare 500 runs", compare, limit=LOOK, absolute=True),
    ]


def served(project: Path) -> list[Figure]:
    """Measure the model server, its unit in each name, beside one that answers a constant."""
    seconds(["make", "release"], project)
    bare = "a bare server of KServe"
    return [
        Figure(f"served, {row.name}", row.value, row.floor, bare, row.limit, rate=row.rate)
        for row in bench_serving.bench(project)
    ]


def tags(project: Path, rounds: int) -> Figure:
    """Measure the tags of all images, of which none has changed."""
    python = project / ".venv/bin/python"
    (taken,) = take_turns(rounds, lambda: seconds([python, "-c", bench_images.TAGS], project))
    return Figure("all tags, nothing changed", taken, limit=TAGS, absolute=True)


def drift(folder: Path, rounds: int) -> list[Figure]:
    """Measure drift in a Parquet file, beside reading it; the memory that both take too."""
    return [
        Figure(
            f"drift in {cost.rows:,} rows x {bench_drift.COLUMNS}",
            cost.drift_seconds,
            cost.read_seconds,
            "reading the same Parquet file",
            DRIFT,
            parts={"MB": cost.drift_megabytes, "MB, reading": cost.read_megabytes},
        )
        for cost in bench_drift.costs(folder, rounds, environment())
    ]


def engine_answers() -> bool:
    """Return whether images can be built here."""
    if not shutil.which("docker"):
        return False
    done = subprocess.run(["docker", "version"], check=False, capture_output=True)
    return done.returncode == 0


def edit(images: Images) -> Figure:
    """Measure what an edit of one line of the model's module rebuilds."""
    rebuilt = images.after_edit()
    return Figure("make images, model.py edited", rebuilt.seconds, parts=rebuilt.images)


def scales(weights: list[Weight]) -> Table:
    """Show what the images weigh."""
    shown = Table("MB", box=None, pad_edge=False, header_style="dim")
    for name in ("base", "dependencies", "ours"):
        shown.add_column(name, justify="right")
    for weight in weights:
        parts = (weight.base, weight.dependencies, weight.ours)
        shown.add_row(weight.image, *(f"{part:.1f}" for part in parts))
    return shown


def table(figures: list[Figure]) -> Table:
    """Show the figures, each beside its floor."""
    shown = Table("", box=None, pad_edge=False, header_style="dim")
    for name in ("seconds", "floor", "ratio", "limit"):
        shown.add_column(name, justify="right")
    shown.add_column("the floor")
    for figure in figures:
        limit = ""
        if figure.limit is not None:
            unit = " s" if figure.absolute else "x"
            colour = "green" if figure.kept else "bold red"
            limit = f"[{colour}]{figure.limit:g}{unit}[/]"
        shown.add_row(
            figure.what,
            f"{figure.seconds:.2f}",
            f"{figure.floor:.2f}" if figure.floor else "",
            f"{figure.ratio:.2f}" if figure.ratio else "",
            limit,
            figure.floor_what,
        )
        for part, taken in figure.parts.items():
            shown.add_row(f"  {part}", f"{taken:.2f}", style="dim")
    return shown


if __name__ == "__main__":
    screen.start(bench)
