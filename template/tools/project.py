"""The project's own facts: names, settings, environments."""

import importlib
import tomllib
from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from runtime.errors import ProjectError
from runtime.settings import Settings
from tools.environment import Environment

ROOT = Path(__file__).resolve().parents[1]
# There when the component `mlflow` is chosen.
TRACKING = ROOT / "tools" / "tracking.py"
SETTINGS_CLASS = "StepSettings"
UNATTENDED = ("local", "dev")
"""Environments in which nobody is harmed by a model that no person has looked at."""


class ImageSettings(Settings):
    """The `images` section of config/project.yaml."""

    epoch: int = Field(default=0, ge=0)
    """Part of every tag: raised to build all images again."""
    base_image: str = "python:3.11-slim-bookworm"
    """What every image starts from. With Python 3.11 and pip: a mirror's copy, say."""
    base_images: dict[str, str] = Field(default_factory=dict)
    """What single images start from instead, by the name of the step, `serving`, `payloads`."""
    platform: str = "linux/amd64"
    """Of the nodes that images run on."""
    push_outside_ci: bool = False
    """Whether `make images PUSH=1` is for everybody; otherwise only CI pushes."""

    def base(self, name: str) -> str:
        """What the image of a step, or of serving, starts from."""
        return self.base_images.get(name, self.base_image)


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would quietly take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                problem = f"the key {key.value!r} stands there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class Project:
    """What is written in pyproject.toml and config/, checked when it is asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def name(self) -> str:
        """The name that images, pipelines and Kubernetes objects start with."""
        with (self.root / "pyproject.toml").open("rb") as file:
            name: str = tomllib.load(file)["project"]["name"]
        return name

    @property
    def package(self) -> str:
        """The Python package below src/."""
        return self.name.replace("-", "_")

    @cached_property
    def steps(self) -> list[str]:
        """The folders of steps/ that hold a component, in alphabetical order."""
        return sorted(path.parent.name for path in self.root.glob("steps/*/component.py"))

    @cached_property
    def pipelines(self) -> list[str]:
        """The files of pipelines/, in alphabetical order."""
        return sorted(path.stem for path in self.root.glob("pipelines/*.py"))

    def require_pipeline(self, name: str) -> None:
        """Refuse a name that no file of pipelines/ has."""
        if name not in self.pipelines:
            raise ProjectError(
                f"there is no pipeline {name!r}: PIPELINE is one of {', '.join(self.pipelines)}"
            )

    @cached_property
    def config(self) -> dict[str, Any]:
        """config/project.yaml as it stands; every section belongs to a step, or is `images`."""
        config = self._read_yaml("config/project.yaml")
        unknown = sorted(config.keys() - {*self.steps, "images"})
        if unknown:
            raise ProjectError(
                f"config/project.yaml: {unknown[0]!r} is neither a step nor `images`; "
                f"the steps are {', '.join(self.steps)}"
            )
        return config

    @property
    def images(self) -> ImageSettings:
        """How images are made."""
        section, where = self.config.get("images") or {}, "config/project.yaml: images"
        images = ImageSettings.parse(section, where=where)
        known = [*self.steps, "serving", "payloads"]
        self._refuse_unknown(images.base_images, known, f"{where}.base_images", "image")
        return images

    @property
    def payloads(self) -> Any:
        """What the payload log keeps; without config/payloads.yaml nothing.

        Settings of a class that is there when the component `monitoring` is chosen.
        """
        path = "config/payloads.yaml"
        content = self._read_yaml(path) if (self.root / path).exists() else {}
        kind = importlib.import_module("runtime.payloads").PayloadSettings
        return kind.parse(content, where=path)

    def settings(self, step: str) -> Settings:
        """The checked settings of a step: its section, read by the class in its settings.py."""
        name = f"steps.{step}.settings"
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise ProjectError(
                f"steps/{step}/settings.py is missing: bring it back from git"
            ) from None
        kind = getattr(module, SETTINGS_CLASS, None)
        if kind is None:
            raise ProjectError(f"steps/{step}/settings.py must define the class {SETTINGS_CLASS}")
        section = self._section(step)
        if section.get("trials") and {"metric", "search_minutes"} <= kind.model_fields.keys():
            # A search looks for the best of what decides.
            judge = self.settings("evaluate") if "evaluate" in self.steps else None
            section = {"metric": getattr(judge, "metric", ""), **section}
        settings: Settings = kind.parse(section, where=f"config/project.yaml: {step}")
        return settings

    def science(self, module: str) -> Any:
        """A module of the team's package, imported."""
        return importlib.import_module(f"{self.package}.{module}")

    def environment(self, name: str) -> Environment:
        """The checked settings of an environment."""
        if name not in self.environments:
            raise ProjectError(
                f"there is no environment {name!r}: ENV is one of {', '.join(self.environments)}"
            )
        path = f"config/environments/{name}.yaml"
        environment = Environment.parse(self._read_yaml(path), where=path)
        if environment.release_retrained and name not in UNATTENDED:
            raise ProjectError(
                f"{path}: release_retrained: a person decides what is released in {name}; only "
                f"{' and '.join(UNATTENDED)} may do without"
            )
        self._refuse_unknown(environment.steps, self.steps, f"{path}: steps", "step")
        self._refuse_unknown(
            environment.schedules, self.pipelines, f"{path}: schedules", "pipeline"
        )
        return environment

    @property
    def environments(self) -> list[str]:
        """The files of config/environments/, in alphabetical order."""
        return sorted(path.stem for path in self.root.glob("config/environments/*.yaml"))

    def _section(self, step: str) -> dict[str, Any]:
        section = self.config.get(step) or {}
        if not isinstance(section, dict):
            raise ProjectError(f"config/project.yaml: {step} must hold keys and values")
        return section

    @staticmethod
    def _refuse_unknown(given: Iterable[str], known: list[str], where: str, kind: str) -> None:
        for name in given:
            if name not in known:
                raise ProjectError(
                    f"{where}: there is no {kind} {name!r}; there are {', '.join(known)}"
                )

    def _read_yaml(self, path: str) -> dict[str, Any]:
        try:
            content = yaml.load((self.root / path).read_text(), Loader=_StrictLoader)  # noqa: S506
        except FileNotFoundError:
            raise ProjectError(f"{path} is missing: bring it back from git") from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f" line {mark.line + 1}" if mark else ""
            problem = getattr(error, "problem", None) or "it cannot be read"
            raise ProjectError(f"{path}{line}: {problem}") from None
        if not isinstance(content, dict):
            raise ProjectError(f"{path}: must hold keys and values")
        return content


@cache
def project(root: Path = ROOT) -> Project:
    """The project at `root`, read once."""
    return Project(root)
