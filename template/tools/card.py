"""The model card: what a run knows of its model, and what only the team can say.

The team's part is MODEL_CARD.md: a section holds a line `> To write: …` until somebody has.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tools import pages
from tools.project import ROOT

TEAM = "MODEL_CARD.md"
_OPEN = re.compile(r"^> \**To write\b.*(?:\n>.*)*\n?", re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Section:
    """A part of the card that is the team's."""

    title: str
    text: str
    """Markdown, without what is still to be written."""
    missing: str
    """What the team still has to write; empty when nothing is missing."""


def sections(root: Path = ROOT) -> list[Section]:
    """What the team has written, section by section."""
    path = root / TEAM
    if not path.exists():
        return [Section("What the team says", "", f"{TEAM} is not there: bring it back from git.")]
    text = _COMMENT.sub("", path.read_text("utf-8"))
    lines = text.splitlines(keepends=True)
    found = pages.headings(text)
    starts = [heading.map[0] if heading.map else 0 for heading in found]
    return [
        _section(heading.content, "".join(lines[start + 1 : end]))
        for heading, start, end in zip(found, starts, [*starts[1:], len(lines)], strict=True)
    ]


def _section(title: str, text: str) -> Section:
    open_parts = [re.sub(r"^> ?", "", part, flags=re.MULTILINE) for part in _OPEN.findall(text)]
    written = _OPEN.sub("", text).strip()
    asked = [re.sub(r"^\**To write:?\**:?\s*", "", part).strip() for part in open_parts]
    missing = " ".join(asked) or ("" if written else "Nothing is written here yet.")
    return Section(title, written, missing)
