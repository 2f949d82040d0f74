"""What a release generates by itself, from a project's answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ownership import Refused, git


def checkout(repository: Path, release: str, folder: Path) -> Path:
    """Write the files of a release into a new folder, and return that."""
    folder.mkdir()
    place = {"GIT_WORK_TREE": str(folder), "GIT_INDEX_FILE": f"{folder}.index"}
    git(repository, "read-tree", f"{release}^{{commit}}", **place)
    git(repository, "checkout-index", "--all", **place)
    return folder


def generate(
    release: Path, folder: Path, answers_file: str, answers: Mapping[str, Any]
) -> dict[str, Any]:
    """Generate a project from the files of a release, and return the answers as it has them.

    Raises:
        Refused: Copier cannot.
    """
    # Half a second, which whoever is refused need not wait.
    import copier

    try:
        copier.run_copy(
            str(release),
            folder,
            dict(answers),
            answers_file=answers_file,
            defaults=True,
            quiet=True,
            unsafe=False,
        )
    except Exception as error:
        raise Refused(f"Copier failed: {' '.join(str(error).split())}") from error
    return own(yaml.safe_load((folder / answers_file).read_text("utf-8")))


def own(answers: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what Copier notes beside the answers."""
    return {name: value for name, value in answers.items() if not name.startswith("_")}
