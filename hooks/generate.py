"""What a release generates by itself, from a project's answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from ownership import Refused, git


@dataclass(frozen=True)
class Generated:
    """A project as a release generates it."""

    release: Path
    """The files of the release."""
    files: Path
    """Those of the project."""
    answers: Mapping[str, Any]
    """The answers as the release takes them."""


def generate(
    repository: Path, release: str, folder: Path, answers_file: str, answers: Mapping[str, Any]
) -> Generated:
    """Generate a project in a new folder.

    Raises:
        Refused: Copier cannot.
    """
    # Half a second, which whoever is refused need not wait.
    import copier

    folder.mkdir()
    template, project = folder / "release", folder / "project"
    template.mkdir()
    place = {"GIT_WORK_TREE": str(template), "GIT_INDEX_FILE": str(folder / "index")}
    git(repository, "read-tree", f"{release}^{{commit}}", **place)
    git(repository, "checkout-index", "--all", **place)
    try:
        copier.run_copy(
            str(template),
            project,
            own(answers),
            answers_file=answers_file,
            defaults=True,
            quiet=True,
            unsafe=False,
        )
    except Exception as error:
        # It refuses an answer here, where an update would quietly take the default instead.
        reason = " ".join(str(error).split())
        raise Refused(
            f"Copier cannot generate {release}: {reason}. If that is about an answer: "
            "make update DATA='name=value' changes it."
        ) from error
    recorded = yaml.safe_load((project / answers_file).read_text("utf-8"))
    return Generated(template, project, own(recorded))


def own(answers: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what Copier notes beside the answers."""
    return {name: value for name, value in answers.items() if not name.startswith("_")}
