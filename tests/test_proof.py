"""What is claimed to be proven: by tests that there are, and not without them."""

from pathlib import Path

import pytest
from conftest import ROOT

from scripts import proof
from scripts.screen import Refused


def test_claims() -> None:
    """Every test is behind a claim, and no claim is without one."""
    modules = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    assert {name for claim in proof.claims() for name in claim.tests} == modules
    assert proof.readme() == proof.README.read_text("utf-8"), "run make reference"


@pytest.mark.parametrize("child", ["<failure/>", "<skipped/>", "<error/>", None])
def test_a_claim_without_proof(tmp_path: Path, child: str | None) -> None:
    """A test that failed, was skipped or did not run at all is said, by the exit code too."""
    tests = [(f"tests.test_{name}", "") for claim in proof.claims() for name in claim.tests]
    results = tmp_path / "results.xml"

    def write(cases: list[tuple[str, str]]) -> None:
        rows = (f'<testcase classname="{name}" time="1">{more}</testcase>' for name, more in cases)
        results.write_text(f"<testsuites>{''.join(rows)}</testsuites>", "utf-8")

    write(tests)
    proof.proof(results)
    write(tests[1:] if child is None else [(tests[0][0], child), *tests[1:]])
    with pytest.raises(Refused, match="without proof"):
        proof.proof(results)


def test_no_results(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="junitxml"):
        proof.proof(tmp_path / "results.xml")
