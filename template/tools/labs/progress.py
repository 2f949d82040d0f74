"""What is remembered of a participant's labs, in artifacts/, where git does not see it."""

import json
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from runtime.errors import ProjectError
from runtime.settings import Settings
from tools import commit
from tools.labs.lab import MATERIAL, Finding, Lab, labs

FILE = MATERIAL / "progress.json"


class Seen(Settings):
    """What is known of one lab."""

    commit: str = ""
    """What was checked out when its page was first shown; empty outside a git repository."""
    since: str = ""
    """When it was begun again, UTC, ISO 8601; empty when it never was."""
    done_at: str = ""
    """When its check first succeeded; empty before that."""
    hints: dict[str, int] = Field(default_factory=dict)
    """How many hints were given about what."""


class Progress(Settings):
    """What is known of all labs, by their numbers."""

    labs: dict[str, Seen] = Field(default_factory=dict)

    def of(self, lab: Lab) -> Seen:
        """What is known of a lab."""
        return self.labs.get(str(lab.number), Seen())

    @property
    def done(self) -> list[int]:
        """The numbers of the labs that are done."""
        return [lab.number for lab in labs() if self.of(lab).done_at]

    def next(self) -> Lab | None:
        """The first lab that is not done; None when all are."""
        return next((lab for lab in labs() if not self.of(lab).done_at), None)


def read(file: Path = FILE) -> Progress:
    """What was remembered, or nothing yet.

    Raises:
        ProjectError: the file is broken.
    """
    try:
        return Progress.from_json(file.read_text("utf-8")) if file.exists() else Progress()
    except ProjectError:
        raise ProjectError(
            "artifacts/workshop/progress.json cannot be read: remove it, and `make workshop-check` "
            "finds out again what is done"
        ) from None


def opened(lab: Lab) -> None:
    """Remember what is checked out when a lab is looked at for the first time."""
    seen = read().of(lab)
    if not seen.commit:
        _keep(lab, seen.model_copy(update={"commit": commit.commit().hash}))


def checked(lab: Lab, missing: Finding | None) -> int:
    """Remember how a check ended, and return how many hints are due about what is missing."""
    seen = read().of(lab)
    if missing is None:
        _keep(lab, seen.model_copy(update={"done_at": seen.done_at or now()}))
        return 0
    due = seen.hints.get(missing.what, 0) + 1
    _keep(lab, seen.model_copy(update={"hints": {**seen.hints, missing.what: due}}))
    return due


def begun_again(lab: Lab) -> None:
    """Forget all of a lab but where it began; what was run before does not count any more."""
    _keep(lab, Seen(commit=read().of(lab).commit, since=now()))


def now() -> str:
    """This moment, as records of runs write it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _keep(lab: Lab, seen: Seen) -> None:
    known = {**read().labs, str(lab.number): seen}
    FILE.parent.mkdir(parents=True, exist_ok=True)
    content = {number: known[number].model_dump() for number in sorted(known, key=int)}
    FILE.write_text(json.dumps({"labs": content}, indent=2) + "\n", encoding="utf-8")
