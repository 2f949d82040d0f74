"""`make reference`: the pages of docs/reference, made from the questions; READMEs of modules."""

from pathlib import Path
from typing import Any

import yaml

from scripts import proof, screen, settings, terraform_docs, verbs
from scripts.markdown import table
from scripts.repository import ROOT

FOLDER = "docs/reference"
WHOSE = {
    "managed": "an update rewrites it; a team makes its change elsewhere",
    "shared": "both edit it; an update merges line by line",
    "owned": "the team's from the first copy on; no update touches it",
}


def read(pattern: str) -> dict[str, Any]:
    """Read the questions of the files that match, in the order in which they are asked."""
    found: dict[str, Any] = {}
    for path in sorted((ROOT / "questions").glob(pattern)):
        content = yaml.safe_load(path.read_text("utf-8"))
        found |= {name: value for name, value in content.items() if not name.startswith("_")}
    return found


def questions() -> str:
    """Describe each question: type, choices, default, and what it decides."""
    rows = []
    for name, details in read("[1-5]0-*.yml").items():
        choices = details.get("choices")
        values = choices.values() if isinstance(choices, dict) else choices
        asked = "" if details.get("ask", True) else " (not asked)"
        _, _, decides = details["help"].partition("\n")
        rows.append(
            {
                "question": f"`{name}`{asked}",
                "type or choices": ", ".join(f"`{value}`" for value in values or [])
                or details["type"],
                "default": str(details["default"]),
                "what it decides": decides.strip(),
            }
        )
    return "\n".join(["# Questions", "", *table(rows), ""])


def files() -> str:
    """Show the ownership table."""
    lines = ["# Files and their owners", ""]
    lines += [f"- **{name}**: {meaning}" for name, meaning in WHOSE.items()]
    rows = [
        {
            "file": f"`{row['path']}`",
            "class": row["class"],
            "since": ".".join(map(str, row["since"])),
            "where a team changes it instead": row.get("extend", ""),
        }
        for row in read("90-files.yml")["files"]["default"]
    ]
    return "\n".join([*lines, "", *table(rows), ""])


PAGES = {
    "questions.md": questions,
    "files.md": files,
    "verbs.md": verbs.page,
    "settings.md": settings.page,
    "proof.md": proof.page,
}


def reference() -> None:
    """Write every page anew."""
    for name, page in PAGES.items():
        path = Path(ROOT) / FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(), "utf-8")
    proof.README.write_text(proof.readme(), "utf-8")
    for path, text in terraform_docs.pages().items():
        path.write_text(text, "utf-8")
    screen.what_next(f"git diff {FOLDER} {terraform_docs.MODULES.relative_to(ROOT)}")


if __name__ == "__main__":
    screen.start(reference)
