"""What an update does, in words: for the screen before it, and for a pull request after it."""

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from after_update import KINDS, Finding

SECTION = re.compile(r"^## \[(?P<version>[^\]]+)\].*$", re.MULTILINE)
LISTED = 12


@dataclass
class Report:
    """An update that was tried, and perhaps done."""

    source: str
    """The template, as the answers name it."""
    old: str
    new: str
    commit: str
    """Of the new release."""
    findings: list[Finding]
    questions: dict[str, tuple[Any, str]]
    """The answers that were not there before, each with its question."""
    notes: str = ""
    """What the changelog says of the releases between."""
    examples: str = ""
    """What the release changed in its examples of owned files, as a patch."""
    checks: dict[str, bool] = field(default_factory=dict)
    """The verbs that ran afterwards, and whether they succeeded."""
    undo: str = ""
    """The command that takes the update back; empty when the project was left as it was."""

    @property
    def conflicts(self) -> list[Finding]:
        """List the files that have to be merged by hand."""
        return self.of("conflict")

    @property
    def mended(self) -> list[Finding]:
        """List the files that Copier had not left as they have to be."""
        return [finding for finding in self.findings if not finding.right]

    def of(self, *kinds: str) -> list[Finding]:
        """List the findings of these kinds."""
        return [finding for finding in self.findings if finding.kind in kinds]

    def json(self) -> str:
        """Write it for a program; the kinds of finding are explained in after_update.py."""
        return json.dumps(asdict(self), indent=2, default=str)

    def markdown(self) -> str:
        """Write it down."""
        return "\n".join(self.lines()) + "\n"

    def lines(self) -> Iterator[str]:
        """Give the lines of the report."""
        yield f"# Update of the template from {self.old} to {self.new}"
        yield f"\nFrom {self.source}, commit {self.commit[:12]}.\n"
        yield self.verdict()
        if self.mended:
            yield "\n## Put right, as Copier had lost something\n"
            yield from (f"- `{found.path}`: {KINDS[found.kind]}" for found in self.mended)
        for title, *kinds in SECTIONS:
            if found := self.of(*kinds):
                yield f"\n## {title}\n"
                yield from listed(found)
        if self.questions:
            yield "\n## New questions, answered by their defaults\n"
            for name, (answer, question) in self.questions.items():
                yield f"- `{name}`: `{answer}`. {question}"
            yield "\nTo answer otherwise: `make update DATA='name=value'`."
        if self.notes:
            yield f"\n## What is new\n\n{self.notes}"
        if self.checks:
            yield "\n## Afterwards\n"
            for verb, good in self.checks.items():
                yield f"- `{verb}` {'succeeded' if good else '**failed**'}"
        if self.examples:
            yield "\n<details><summary>What changed in the examples of your files</summary>\n"
            yield f"```diff\n{self.examples}```\n\n</details>"

    def verdict(self) -> str:
        """Say in a sentence what it means for the team's work."""
        own = [found for found in self.findings if found.owner in ("owned", "yours")]
        same = [found for found in own if found.kind in ("same", "example")]
        edits = self.of("kept", "merged", "retired")
        conflicts = f"**{count(self.conflicts)} in conflict.** " if self.conflicts else ""
        return (
            f"{conflicts}Nothing is lost: {count(same)} of yours as they were, {count(edits)} of "
            f"the template with your edits, {count(self.of('deleted'))} still deleted."
        )


# What is worth a look, the most urgent first: a title, and kinds of findings.
SECTIONS = (
    ("Conflicts, to be resolved as in any merge", "conflict"),
    ("The release and you changed these", "merged"),
    ("Your edits in the template's files, as they were", "kept"),
    ("No longer in the release; yours to keep or to delete", "retired"),
    ("Deleted by you, and still deleted", "deleted"),
    ("New, but .gitignore or a file of yours is in the way", "blocked"),
    ("New; what is owned is yours from now on", "arrived"),
    ("Changed", "changed"),
    ("Removed", "removed"),
    ("Examples that have changed; yours stay as they are", "example"),
)


def listed(findings: Sequence[Finding]) -> Iterator[str]:
    """List files: those that are, or become, the team's by line, the others in short."""
    others = []
    for found in findings:
        touched = found.kind in ("conflict", "merged", "kept", "retired", "deleted", "blocked")
        if touched or found.owner == "owned":
            extend = f"; better changed in {found.extend}" if touched and found.extend else ""
            yield f"- `{found.path}`, {found.owner}{extend}"
        else:
            others.append(f"`{found.path}`")
    if others:
        rest = len(others) - LISTED
        yield f"- {', '.join(others[:LISTED])}{f' and {rest} more' if rest > 0 else ''}"


def count(findings: Sequence[Finding]) -> str:
    """Count files."""
    return f"{len(findings)} file{'' if len(findings) == 1 else 's'}"


def number(release: str) -> tuple[int, ...]:
    """Read a release as numbers that can be compared, 0.4.0 or v0.4.0-3-gabcdef."""
    return tuple(int(part) for part in re.findall(r"\d+", release.partition("-g")[0]))


def changelog(release: Path, old: str, new: str) -> str:
    """Cut from the changelog what the releases after `old` up to `new` say."""
    file = release / "CHANGELOG.md"
    if not file.exists():
        return ""
    text = file.read_text(encoding="utf-8")
    heads = [head for head in SECTION.finditer(text) if re.match(r"v?\d", head["version"])]
    parts = []
    for head in heads:
        if number(old) < number(head["version"]) <= number(new):
            end = SECTION.search(text, head.end())
            parts.append(text[head.start() : end.start() if end else None].strip())
    return re.sub(r"^##", "###", "\n\n".join(parts), flags=re.MULTILINE)


def asked(release: Path) -> dict[str, str]:
    """Read what each question of a release asks."""
    helps = {}
    for file in sorted((release / "questions").glob("*.yml")):
        for name, question in yaml.safe_load(file.read_text(encoding="utf-8")).items():
            if isinstance(question, dict) and "help" in question:
                helps[name] = str(question["help"]).splitlines()[0]
    return helps


def example_changes(old: Path, new: Path, paths: Sequence[str]) -> str:
    """Show how the release changed files that it generates, as a patch."""
    lines: list[str] = []
    for path in paths:
        before, after = ((folder / path).read_text("utf-8").splitlines() for folder in (old, new))
        lines += difflib.unified_diff(before, after, f"a/{path}", f"b/{path}", lineterm="")
    return "".join(f"{line}\n" for line in lines)
