"""Which file needs which: read from the sources, without importing them."""

import ast
import os
from functools import cache
from pathlib import Path
from typing import Any

from runtime.errors import ProjectError
from tools.project import ROOT, project

# Those beside src/ whose modules end up in an image or name what does.
FOLDERS = ("pipelines", "runtime", "serving", "steps")


def steps_of(pipeline: str, root: Path = ROOT) -> list[str]:
    """The steps that a pipeline is wired from, in alphabetical order.

    Raises:
        ProjectError: there is no such pipeline.
    """
    project(root).require_pipeline(pipeline)
    waiting, seen = [f"pipelines.{pipeline}"], set()
    while waiting:
        module = waiting.pop()
        seen.add(module)
        if module.startswith("pipelines.") and module in graph(root).modules:
            # One may run within another.
            waiting.extend(graph(root).find_modules_directly_imported_by(module) - seen)
    used = {module.split(".")[1] for module in seen if module.startswith("steps.")}
    return [step for step in project(root).steps if step in used]


def closure(module: str, root: Path = ROOT) -> set[Path]:
    """The files of this project that a module imports, directly or not; those of tools aside."""
    known = graph(root)
    waiting, seen = [module], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in known.modules or name.split(".")[0] == "tools":
            continue
        seen.add(name)
        waiting.extend(known.find_modules_directly_imported_by(name))
        # Importing a.b.c runs the __init__ of a and of a.b.
        parents = name.split(".")[:-1]
        waiting.extend(".".join(parents[: i + 1]) for i in range(len(parents)))
    return {path for path in (_file_of(name, root) for name in seen) if path}


@cache
def graph(root: Path = ROOT) -> Any:
    """Who imports whom among pipelines, serving, steps, src and runtime."""
    import grimp

    folders = [folder for folder in FOLDERS if (root / folder).is_dir()]
    try:
        return grimp.build_graph(
            project(root).package,
            *folders,
            exclude_type_checking_imports=True,
            cache_dir=None,
        )
    except grimp.exceptions.SourceSyntaxError as error:
        file = Path(error.filename)
        parsed(file, root)
        # Python of this version takes it.
        where = _place(file, root, error.lineno)
        raise ProjectError(f"{where}: imports cannot be read: {error.text}") from None
    except UnicodeError as error:
        raise ProjectError(f"{error}: save it as UTF-8") from None


def parsed(file: Path, root: Path = ROOT) -> ast.Module:
    """A Python file as a tree.

    Raises:
        ProjectError: it is not valid Python.
    """
    try:
        return ast.parse(file.read_bytes())
    except SyntaxError as error:
        line = f": {error.text.strip()}" if error.text else ""
        raise ProjectError(f"{_place(file, root, error.lineno)}: {error.msg}{line}") from None


def _place(file: Path, root: Path, line: int | None) -> str:
    return os.path.relpath(file.resolve(), root.resolve()) + (f" line {line}" if line else "")


def _file_of(module: str, root: Path) -> Path | None:
    base = root if module.split(".")[0] in FOLDERS else root / "src"
    path = base.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.exists():
            return candidate
    return None
