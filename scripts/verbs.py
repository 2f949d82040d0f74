"""The page of verbs: those of a project and of this repository, from their Makefiles."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import jinja2
import yaml

from scripts.markdown import table
from scripts.repository import ROOT

TITLE = re.compile(r"##@ (.+)")
VERB = re.compile(r"([a-z][\w-]*):.*?## (.+?)(?: \(([^()]*\b[A-Z]+=[^()]*)\))?")
MAKEFILE = "Makefile.jinja"
INCLUDED = {
    "infra/verbs.mk": "cloud",
    ".github/delivery.mk": "github",
    "workshop/verbs.mk": "workshop",
}
"""Files with verbs that come whole or not at all, and with which part."""


@dataclass(frozen=True)
class Verb:
    """A target that a person is meant to know."""

    section: str
    name: str
    does: str
    takes: str


def verbs(makefile: str) -> Iterator[Verb]:
    """Find the verbs of a Makefile, as its own `make help` does."""
    section = ""
    for line in makefile.splitlines():
        if title := TITLE.fullmatch(line):
            section = title[1]
        elif verb := VERB.fullmatch(line):
            yield Verb(section, verb[1], verb[2], verb[3] or "")


def parts() -> dict[str, str]:
    """Name the answer that brings each part of a project, by the part's name in the table."""
    found = {}
    for path in sorted((ROOT / "questions").glob("[1-5]0-*.yml")):
        for question, details in yaml.safe_load(path.read_text("utf-8")).items():
            if details.get("choices") and not question.startswith("_"):
                choices = details["choices"]
                for choice in choices.values() if isinstance(choices, dict) else choices:
                    found[choice] = f"`{question}`: {choice}"
    return {
        **found,
        "cloud": "`cloud_targets`: any",
        "github": "`with_github_actions`",
        "workshop": "`with_workshop`",
    }


class Makefiles:
    """The Makefile of a project, with whatever parts, and what it includes."""

    def __init__(self) -> None:
        """Read them."""
        settings = yaml.safe_load((ROOT / "questions/00-settings.yml").read_text("utf-8"))
        options = {**settings["_envops"], "undefined": jinja2.Undefined, "autoescape": False}
        folder = ROOT / "template"
        text = (folder / MAKEFILE).read_text("utf-8")
        self._makefile = jinja2.Environment(**options).from_string(text)  # noqa: S701
        self._included = {
            part: (folder / path).read_text("utf-8") for path, part in INCLUDED.items()
        }

    def verbs(self, chosen: set[str]) -> dict[str, Verb]:
        """Give the verbs of a project in which these parts were chosen, by name."""
        mode = "Knative" if "Knative" in chosen else "Standard"
        texts = [self._makefile.render(parts=chosen, serving_mode=mode)]
        texts += [text for part, text in self._included.items() if part in chosen]
        return {verb.name: verb for text in texts for verb in verbs(text)}


def page() -> str:
    """Describe every verb: what it does, what it takes, and which answer brings it."""
    brought = parts()
    makefiles = Makefiles()
    every = makefiles.verbs({*brought})
    lacking: dict[str, set[str]] = {
        name: every.keys() - makefiles.verbs({*brought} - {name}).keys() for name in brought
    }
    lines = ["# Verbs", "", "## Of a project", ""]
    lines += [
        "`make help` shows those that a project has, `make VERB NAME=value` gives one a value.",
        "",
    ]
    sections = list(dict.fromkeys(verb.section for verb in every.values()))
    for section in sections:
        rows = []
        for verb in every.values():
            if verb.section == section:
                by = [answer for part, answer in brought.items() if verb.name in lacking[part]]
                # The last one: it is asked only where those before it were chosen.
                rows.append(row(verb) | {"comes with": by[-1] if by else "every project"})
        lines += [f"### {section}", "", *table(rows), ""]
    lines += ["## Of this repository", ""]
    own = list(verbs((ROOT / "Makefile").read_text("utf-8")))
    for section in dict.fromkeys(verb.section for verb in own):
        lines += [f"### {section}", ""]
        lines += [*table([row(verb) for verb in own if verb.section == section]), ""]
    return "\n".join(lines)


def row(verb: Verb) -> dict[str, str]:
    """Describe a verb in a row of a table."""
    return {
        "verb": f"`make {verb.name}`",
        "what it does": verb.does,
        "takes": f"`{verb.takes}`" if verb.takes else "",
    }
