"""The labs: a page in workshop/ for people, and a check beside this file for each."""

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from runtime.errors import ProjectError
from tools.project import ROOT

FOLDER = ROOT / "workshop"
MATERIAL = ROOT / "artifacts" / "workshop"
"""What labs give to a participant, and what is remembered of them; not in git."""
NOBODY = ("-c", "user.name=workshop", "-c", "user.email=workshop@localhost")
"""Who commits what is nobody's work, or where git does not know who works."""
_PAGE = re.compile(r"---\n(?P<front>.*?)\n---\n(?P<body>.*)", re.DOTALL)


@dataclass(frozen=True)
class Finding:
    """One thing that a lab asks for, and whether it is so."""

    what: str
    """As it should be, in a few words; known by it from one check to the next."""
    right: bool
    missing: str = ""
    """What is there instead, or is not there."""
    hints: tuple[str, ...] = ()
    """From a nudge to the solution."""


@dataclass(frozen=True)
class Scope:
    """What a check looks at."""

    since: str = ""
    """UTC, ISO 8601; what was run before does not count. Empty: all counts."""
    url: str = ""
    """Of the model server; empty: where `make serve` starts one."""


@dataclass(frozen=True)
class Lab:
    """A lab, as its page describes it."""

    page: Path

    @property
    def number(self) -> int:
        """From 1 on."""
        return int(self.page.stem.partition("-")[0])

    @property
    def name(self) -> str:
        """What its page and its check are called."""
        return self.page.stem.partition("-")[2].replace("-", "_")

    @property
    def title(self) -> str:
        """What is done in it."""
        return str(self.facts["title"])

    @property
    def minutes(self) -> int:
        """How long it takes."""
        return int(self.facts["minutes"])

    @property
    def needs(self) -> str:
        """What it needs beside a laptop; empty when that will do."""
        return str(self.facts.get("needs", ""))

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The head of the page: title, minutes, questions, objectives, keypoints."""
        found: dict[str, Any] = yaml.safe_load(self._parts["front"])
        return found

    @property
    def body(self) -> str:
        """What is to be done, in Markdown."""
        return self._parts["body"].strip()

    @cached_property
    def _parts(self) -> dict[str, str]:
        found = _PAGE.fullmatch(self.page.read_text("utf-8"))
        if not found:
            raise ProjectError(
                f"workshop/{self.page.name} does not begin as a lab does, with its title and "
                f"minutes between two lines of ---: git checkout workshop/{self.page.name}"
            )
        return found.groupdict()

    def check(self, scope: Scope) -> list[Finding]:
        """Look at the project, in the order in which things are to be done."""
        found: Callable[[Scope], Iterator[Finding]] = self._module.check
        return list(found(scope))

    def prepare(self) -> str:
        """Make what the lab gives to its participant, and say what; empty when it gives nothing."""
        make: Callable[[], str] | None = getattr(self._module, "prepare", None)
        return make() if make else ""

    @property
    def _module(self) -> ModuleType:
        return importlib.import_module(f"tools.labs.{self.name}")


def labs() -> list[Lab]:
    """The labs of this project, in their order: a page whose check is there.

    Raises:
        ProjectError: there is none.
    """
    found = sorted(map(Lab, FOLDER.glob("[0-9][0-9]-*.md")), key=lambda lab: lab.number)
    found = [lab for lab in found if find_spec(f"tools.labs.{lab.name}")]
    if not found:
        raise ProjectError("workshop/ has no lab any more: bring it back from git")
    return found


def named(number: str) -> Lab:
    """The lab with this number.

    Raises:
        ProjectError: there is none.
    """
    known = {str(lab.number): lab for lab in labs()}
    if number.strip().lstrip("0") not in known:
        raise ProjectError(f"there is no lab {number!r}: LAB is one of {', '.join(known)}")
    return known[number.strip().lstrip("0")]
