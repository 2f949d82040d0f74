"""What is proven: the claims of tests/claims.yml, and what a run of the tests says of each.

`make reference` writes the table of the README and docs/reference/proof.md. `make proof` counts the
results of a run, and is not content with a claim whose tests failed, were skipped or did not run.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree as ET

import typer
import yaml
from rich.table import Table

from scripts import screen
from scripts.markdown import table
from scripts.repository import ROOT
from scripts.screen import Refused

CLAIMS = ROOT / "tests/claims.yml"
README = ROOT / "README.md"
BEGIN, END = "<!-- claims -->", "<!-- end of claims -->"
INTRODUCTION = """\
Each claim is held by tests that run the real tool, in `tests/` of the repository. What they do not
show is said beside it. `make test ARGS=--junitxml=results.xml`, then `make proof` counts them, says
how long they take, and fails where a claim has a test that failed or was skipped.
"""
SUMMARY = "GITHUB_STEP_SUMMARY"


@dataclass(frozen=True)
class Claim:
    """Something that is said of this repository, and how it is held."""

    what: str
    tool: str
    tests: list[str]
    """Names of modules, without `test_`."""
    unproven: str = ""
    """What the tests do not show."""
    page: str = ""
    """A page of docs/reference with results."""


@dataclass
class Count:
    """Results of tests."""

    passed: int = 0
    skipped: int = 0
    failed: int = 0
    seconds: float = field(default=0.0)

    def __add__(self, other: "Count") -> "Count":
        """Count both."""
        return Count(
            self.passed + other.passed,
            self.skipped + other.skipped,
            self.failed + other.failed,
            self.seconds + other.seconds,
        )

    @property
    def holds(self) -> bool:
        """Whether there was proof, and nothing but."""
        return bool(self.passed) and not self.failed and not self.skipped


def claims() -> list[Claim]:
    """Read the claims."""
    read = yaml.safe_load(CLAIMS.read_text("utf-8"))
    return [Claim(unproven=each.pop("not", ""), **each) for each in read]


def listed(folder: str) -> list[str]:
    """The claims as a table of Markdown, for a page from which docs/reference is there."""
    rows = []
    for claim in claims():
        where = [f"`test_{name}.py`" for name in claim.tests]
        where += [f"[results]({folder}{claim.page})"] if claim.page else []
        rows.append(
            {
                "what": claim.what,
                "by which real tool": claim.tool,
                "not shown": claim.unproven,
                "where": ", ".join(where),
            }
        )
    return table(rows)


def page() -> str:
    """The page of the documentation."""
    return "\n".join(["# What is proven, and by what", "", INTRODUCTION, *listed(""), ""])


def readme() -> str:
    """The README, with its table as the claims are now."""
    before, _, rest = README.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([before + BEGIN, *listed("docs/reference/"), END]) + after


def counted(results: Path) -> dict[str, Count]:
    """Count a run's results by module.

    Raises:
        Refused: there is no such file, or it is no JUnit XML.
    """
    try:
        cases = ET.parse(results).getroot().iter("testcase")  # noqa: S314 # written by pytest
    except (OSError, ET.ParseError) as error:
        raise Refused(
            f"RESULTS={results} cannot be read ({error}): make it by "
            "`make test ARGS=--junitxml=results.xml`."
        ) from None
    found: dict[str, Count] = {}
    for case in cases:
        module = case.get("classname", "").rpartition(".")[2].removeprefix("test_")
        kinds = {child.tag for child in case}
        failed = bool(kinds & {"failure", "error"})
        skipped = "skipped" in kinds and not failed
        seconds = float(case.get("time", 0))
        one = Count(not (failed or skipped), skipped, failed, seconds)
        found[module] = found.get(module, Count()) + one
    return found


def proof(
    results: Annotated[Path, typer.Option(envvar="RESULTS", help="JUnit XML of a run.")] = Path(
        "results.xml"
    ),
) -> None:
    """Show what a run of the tests says of each claim."""
    by_module = counted(results)
    shown = Table("what", "tests", "skipped", "failed", "minutes", box=None)
    rows = []
    without = 0
    for claim in claims():
        counts = [by_module.get(name, Count()) for name in claim.tests]
        held = all(count.holds for count in counts)
        without += not held
        count = sum(counts, Count())
        numbers = {
            "tests": str(count.passed),
            "skipped": str(count.skipped),
            "failed": str(count.failed),
            "minutes": f"{count.seconds / 60:.1f}",
        }
        shown.add_row(claim.what, *numbers.values(), style="" if held else "red")
        about = {"what": claim.what, "by which real tool": claim.tool}
        rows.append({**about, **numbers, "not shown": claim.unproven})
    screen.console.print(shown)
    if os.environ.get(SUMMARY):
        with Path(os.environ[SUMMARY]).open("a", encoding="utf-8") as summary:
            summary.write("\n".join(["## What is proven", "", *table(rows), ""]))
    if without:
        raise Refused(
            f"{without} claims are without proof: their tests failed, were skipped or did not run."
        )
    screen.what_next(
        "Every claim is held. docs/reference/proof.md says by what, and what is not shown."
    )


if __name__ == "__main__":
    screen.start(proof)
