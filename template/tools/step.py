"""`make step NAME=clean_text`: a step of the team's own, added to the answers of the template.

From then on the platform keeps its Dockerfile up to date as it does that of the other steps.
"""

import ast
import keyword
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from runtime.errors import ProjectError
from tools import screen, template
from tools.imports import parsed
from tools.project import ROOT, project

LONGEST = 30
# Steps of the template that this project may have left out, or that are still to come.
OF_THE_TEMPLATE = "ingest validate train evaluate register partition predict drift monitor release"
TAKEN = {
    **dict.fromkeys(OF_THE_TEMPLATE.split(), "the template has, or will have, a step called so"),
    **dict.fromkeys(
        ("data", "list", "pd", "result", "str", "tmp_path"),
        "the test that comes with a new step uses that word",
    ),
    "images": "config/project.yaml has a section of that name",
    "payloads": "the image of the payload log is called so",
    "serving": "the image of the model server is called so",
}
PURPOSES = {
    "component.py": "what goes in and out; calls src/",
    "settings.py": "its keys in config/project.yaml",
    "pyproject.toml": "the Python packages of its image",
    "apt.txt": "the system packages of its image",
    "Dockerfile": "its image; the template's",
}


def step(
    name: Annotated[str, typer.Option(help="What the step does, in snake_case.")] = "",
) -> None:
    """Add a step: its folder, its image, its component."""
    refuse_name(name)
    made_from = template.origin()
    template.require_commit(made_from.file)
    refuse_known(name, made_from.extra_steps)
    with screen.console.status(f"asking the template {made_from.source} for a step"):
        files = add(name, made_from)
    show(name, files)


def refuse_name(name: str) -> None:
    """Refuse what cannot be the name of a folder, a Python function and an image at once.

    Raises:
        ProjectError: it says what to type instead.
    """
    if not name:
        raise ProjectError("say what the step does, as in make step NAME=clean_text")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or len(name) > LONGEST:
        raise ProjectError(
            f"type the step in snake_case, such as clean_text, not {name!r}: small letters a to z, "
            f"digits and single underscores, a letter first, at most {LONGEST} characters"
        )
    if keyword.iskeyword(name):
        raise ProjectError(f"type another name than {name}: Python keeps that word for itself")
    if name in TAKEN:
        raise ProjectError(f"type another name than {name}: {TAKEN[name]}")


def refuse_known(name: str, extra_steps: tuple[str, ...]) -> None:
    """Refuse what the project already calls something.

    Raises:
        ProjectError: it says what, and where.
    """
    # Bytecode outlives the step that it was made from.
    if any(path.is_file() and path.suffix != ".pyc" for path in (ROOT / "steps" / name).rglob("*")):
        raise ProjectError(f"steps/{name} is there already: type another name")
    if name in extra_steps:
        raise ProjectError(
            f"steps/{name} was there and has been deleted: bring it back from git "
            f"(git log -- steps/{name}), or type another name"
        )
    for pipeline in project().pipelines:
        if name in words(ROOT / "pipelines" / f"{pipeline}.py"):
            raise ProjectError(
                f"type another name than {name}: pipelines/{pipeline}.py uses that word for "
                "something else"
            )


def words(file: Path) -> set[str]:
    """What a Python file gives a meaning to: its functions, parameters, variables and imports."""
    found = set()
    for node in ast.walk(parsed(file)):
        match node:
            case ast.Name(id=word, ctx=ast.Store()) | ast.arg(arg=word):
                found.add(word)
            case ast.FunctionDef(name=word):
                found.add(word)
            case ast.alias():
                found.add(node.asname or node.name.partition(".")[0])
    return found


def add(name: str, made_from: template.Origin) -> list[str]:
    """Have the template make the step, and return the files that are new.

    Raises:
        ProjectError: nothing was changed.
    """
    repository = template.repository(made_from)
    steps = ", ".join((*made_from.extra_steps, name))
    with template.scratch() as copy:
        template.copier(
            made_from,
            repository,
            "update",
            "--quiet",
            "--defaults",
            "--vcs-ref=:current:",
            f"--answers-file={made_from.file}",
            f"--data=extra_steps=[{steps}]",
            str(copy),
        )
        # A step more in the workspace changes the lock file, of a project that keeps it.
        if (copy / "uv.lock").exists():
            template.uv("lock", "--quiet", cwd=copy)
        changed = template.changes(copy, "--ignored")
        folder = f"steps/{name}/"
        own = sorted(path for path in changed if path.startswith(folder))
        if others := changed.keys() - {*own, made_from.file, "uv.lock"}:
            raise ProjectError(
                f"nothing was changed, as more than a step would have been: "
                f"{template.some(others)}. Show this to those who maintain the template"
            )
        if not own:
            raise ProjectError(
                f"nothing was changed, as the template {made_from.source} made no step of {name}"
            )
        template.take_over(copy, [*own, *sorted(changed.keys() - {*own})])
    return own


def show(name: str, files: list[str]) -> None:
    """What is new, and the lines that make it part of a pipeline."""
    table = Table("new", "", box=None, pad_edge=False, header_style="dim")
    for path in files:
        table.add_row(path, PURPOSES.get(Path(path).name, "its test"))
    screen.console.print(table)
    screen.console.print("\nIn a file of pipelines/: the import, a parameter, and the call.\n")
    for line in (
        f"from steps.{name}.component import {name}",
        f"{name}_settings: str,",
        f"{name}_result = {name}(data=train_data, settings={name}_settings).output",
    ):
        screen.console.print(f"    {line}", style="cyan", soft_wrap=True)
    screen.console.print(
        f"\n`train_data`, or other data; what comes after takes `{name}_result` instead.\n"
    )
    screen.what_next(
        "Then `make golden` keeps the pipeline as it now compiles, and `make test` tries the step.",
        "Nothing is committed yet.",
    )


if __name__ == "__main__":
    screen.start(step)
