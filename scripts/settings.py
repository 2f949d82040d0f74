"""The page of settings: every key of a project's configuration, from the classes that check it."""

import ast
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import griffe

from scripts.markdown import table
from scripts.render import generate

STEPS = ("ingest", "validate", "train", "evaluate", "register", "monitor", "partition", "predict")
PROJECT = "config/project.yaml"
ENVIRONMENTS = "config/environments/*.yaml"
KEYS = (
    (PROJECT, "images", "tools.project.ImageSettings"),
    (ENVIRONMENTS, "", "tools.environment.Environment"),
    (ENVIRONMENTS, "every_step, and each of steps", "tools.execution.Execution"),
    (ENVIRONMENTS, "accelerator", "tools.execution.Accelerator"),
    (ENVIRONMENTS, "each of tolerations", "tools.execution.Toleration"),
    (ENVIRONMENTS, "each of secrets", "tools.execution.Secret"),
    (ENVIRONMENTS, "each of volumes", "tools.execution.Volume"),
    (ENVIRONMENTS, "each of schedules", "tools.environment.Schedule"),
    ("config/payloads.yaml", "", "runtime.payloads.PayloadSettings"),
    ("Variables of the model server's container, in capitals", "", "runtime.server.Environment"),
    ("Variables of the payload log's container, in capitals", "", "runtime.sink.Environment"),
)
"""File, section, and the class that checks it."""
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
INTRODUCTION = (
    "What is not known, missing or out of bounds is refused before anything runs. A key that has",
    "a default need not be written. The steps' classes are the team's, in `steps/*/settings.py`:",
    "this is what they come with.",
)
REQUIRED = "has to be given"
FLAVOURS = {"laptop": "scikit-learn", "xgboost-regression": "xgboost"}
"""Projects that have every section between them, by the library that trains."""


class Project:
    """The settings of a generated project, read and never run."""

    def __init__(self, folder: Path) -> None:
        """Read what classes inherit from."""
        self._loader = griffe.GriffeLoader(search_paths=[folder], allow_inspection=False)
        self._loader.load("runtime")

    def find(self, name: str) -> griffe.Class:
        """Find a class by its dotted name."""
        module, _, kind = name.rpartition(".")
        found = self._loader.load(module)[kind]
        assert isinstance(found, griffe.Class)  # noqa: S101 # for mypy: KEYS names classes only
        return found

    def rows(self, name: str) -> Iterator[dict[str, str]]:
        """Describe each key that a class checks."""
        for key, each in self.find(name).all_members.items():
            attribute = each.final_target if isinstance(each, griffe.Alias) else each
            if isinstance(attribute, griffe.Attribute) and attribute.annotation:
                default, bounds = _default(
                    str(attribute.value) if attribute.value is not None else ""
                )
                meaning = " ".join(attribute.docstring.value.split()) if attribute.docstring else ""
                kind = ", ".join([f"`{_kind(str(attribute.annotation))}`", *bounds])
                yield {
                    "key": f"`{key}`",
                    "type": kind,
                    "default": default,
                    "what it is": meaning,
                }


def _kind(annotation: str) -> str:
    """What a person writes; how it is checked is the code's."""
    if annotation.startswith("Annotated["):
        return annotation.removeprefix("Annotated[").partition(",")[0]
    return annotation


def _default(value: str) -> tuple[str, list[str]]:
    """The default as it is written in YAML's terms, and between what bounds a value may be."""
    if not value:
        return REQUIRED, []
    call = ast.parse(value, mode="eval").body
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        return f"`{value}`", []
    if call.func.id != "Field":
        return f"`{ast.unparse(call.args[0])}`" if call.args else "none of its keys", []
    given = {word.arg: word.value for word in call.keywords}
    bounds = [f"{BOUNDS[n]} {ast.unparse(v)}" for n, v in given.items() if n in BOUNDS]
    if "default_factory" in given:
        empty = {"list": "`[]`", "dict": "`{}`"}
        return empty.get(ast.unparse(given["default_factory"]), ""), bounds
    return (f"`{ast.unparse(given['default'])}`" if "default" in given else REQUIRED), bounds


def page() -> str:
    """Describe every key, by the file that it is written in."""
    lines = ["# Settings", "", *INTRODUCTION, ""]
    with tempfile.TemporaryDirectory() as folder:
        projects = []
        for flavour, library in FLAVOURS.items():
            generate(flavour, Path(folder, flavour))
            projects.append((library, Project(Path(folder, flavour))))
        lines += [f"## `{PROJECT}`", ""]
        for step in STEPS:
            lines += _step(step, projects)
        title = PROJECT
        for file, section, name in KEYS:
            if file != title:
                lines += [f"## {f'`{file}`' if '/' in file else file}", ""]
                title = file
            lines += [f"### {section}", ""] if section else []
            lines += [*table([*projects[0][1].rows(name)]), ""]
    return "\n".join(lines)


def _step(step: str, projects: list[tuple[str, Project]]) -> Iterator[str]:
    """The section of a step; where libraries differ, a table for each."""
    tables: dict[tuple[str, ...], set[str]] = {}
    for library, project in projects:
        with suppress(KeyError):
            rows = [*project.rows(f"steps.{step}.settings.StepSettings")]
            tables.setdefault(tuple(table(rows)), set()).add(library)
    for lines, libraries in tables.items():
        yield from (
            f"### {step}{f', with {min(libraries)}' if len(tables) > 1 else ''}",
            "",
            *lines,
            "",
        )
