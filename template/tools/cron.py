"""Times in cron's way, as Kubeflow Pipelines reads them (its weekday has no 7)."""

import re
from typing import NamedTuple


class Part(NamedTuple):
    """One of the five parts of a time."""

    name: str
    least: int
    most: int
    words: str = ""
    """What may stand for the numbers, in their order."""

    def fits(self, text: str) -> bool:
        """Whether it may be one number, word or span, or all of them, in steps or not."""
        match = re.fullmatch(r"([*?]|\w+)(?:-(\w+))?(/[1-9]\d*)?", text)
        if not match or match[1] in "*?":
            return bool(match and not match[2])
        first, last = (self._number(word) for word in (match[1], match[2] or match[1]))
        return self.least <= first <= last <= self.most

    def _number(self, text: str) -> int:
        words = self.words.split()
        if text.upper() in words:
            return self.least + words.index(text.upper())
        return int(text) if text.isdecimal() else -1


PARTS = (
    Part("minute", 0, 59),
    Part("hour", 0, 23),
    Part("day", 1, 31),
    Part("month", 1, 12, "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"),
    Part("weekday", 0, 6, "SUN MON TUE WED THU FRI SAT"),
)


def check(value: str) -> str:
    """Return a time as it is.

    Raises:
        ValueError: it can never come; what is wrong is named.
    """
    texts = value.split(" ")
    if len(texts) != len(PARTS):
        raise ValueError(
            "write minute, hour, day, month and weekday with a space between, such as '0 3 * * 1'"
        )
    for part, text in zip(PARTS, texts, strict=True):
        if not all(map(part.fits, text.split(","))):
            words = f" or {' '.join(part.words.split()[:2])} …" if part.words else ""
            raise ValueError(f"the {part.name} is {part.least} to {part.most}{words}, not {text!r}")
    return value
