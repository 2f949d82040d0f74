"""Tables as Markdown has them."""

from collections.abc import Mapping, Sequence


def table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Lay out rows, whose keys are the headings, in lines."""
    head = list(rows[0])
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(_cell(row[name]) for name in head)} |" for row in rows]


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
