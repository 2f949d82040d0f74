"""Whose each file of a project is, as the table of the template says."""

from pathlib import Path

import yaml
from pathspec import GitIgnoreSpec

from scripts.repository import ROOT

TABLE = "questions/90-files.yml"
OWNED = "owned"


class Owners:
    """The table of a template; of two rows that name a path, the first counts."""

    def __init__(self, template: Path = ROOT) -> None:
        """Read it."""
        table = yaml.safe_load((template / TABLE).read_text("utf-8"))
        # A path that is left out by name is retired: projects that have the file keep it.
        retired = [(path, OWNED) for path in table["_exclude"] if path.startswith("/")]
        rows = [(row["path"], row["class"]) for row in table["files"]["default"]]
        self._rows = [
            (GitIgnoreSpec.from_lines([path.replace("{step}", "*")]), owner)
            for path, owner in retired + rows
        ]

    def of(self, path: str) -> str:
        """Say whose a path is: owned, unless the table says otherwise."""
        return next((owner for spec, owner in self._rows if spec.match_file(path)), OWNED)
