"""Did an update cost the team any work? Told from git alone, whatever made the update.

Four trees are compared, path by path: the project before the update, its result, and what the old
and the new release generate from the same answers. Where both the team and the template changed a
file, the result has to be what git's own merge of the three makes of it.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ownership import Row, git, paths, row_of

MARKERS = (b"<<<<<<< before updating", b">>>>>>> after updating")
YOURS = "yours"
# What may have become of a file, and whether it is a problem.
KINDS = {
    "conflict": "both the team and the release changed these lines",
    "lost": "work of the team is gone",
    "returned": "the team had deleted it, and the update brought it back",
    "missing": "the release's version did not arrive",
    "rejected": "holds changes that did not apply",
    "merged": "has the team's edits and the release's",
    "kept": "edited by the team; the release left it alone",
    "retired": "no longer in the release; stays as it is",
    "deleted": "deleted by the team, and stays so",
    "ignored": "new in the release, but .gitignore names it",
    "changed": "now as in the release",
    "removed": "no longer in the release",
    "arrived": "new in the release",
    "example": "the team's; the release's example of it has changed",
    "same": "as before",
}
LOSSES = ("lost", "returned", "missing", "rejected")


@dataclass(frozen=True)
class Finding:
    """What became of a file."""

    path: str
    kind: str
    """A key of KINDS."""
    owner: str
    """managed, shared or owned; `yours` when the template knows nothing of it."""
    extend: str = ""
    """Where a change of a managed file belongs instead."""


@dataclass(frozen=True)
class Entry:
    """A file in a tree of git."""

    mode: str
    blob: str


Tree = Mapping[str, Entry]


@dataclass(frozen=True)
class Update:
    """An update of a project, to be looked at."""

    project: Path
    """The project's folder: its files are the update's result, in the index or not."""
    old: Path
    """What the old release generates from the project's answers of before."""
    new: Path
    """What the new release generates from those of now."""
    answers_file: str
    before: str = "HEAD"
    """The commit from which the update started."""

    def findings(self, rows: list[Row]) -> list[Finding]:
        """Say of each file what became of it."""
        prefix = git(self.project, "rev-parse", "--show-prefix").strip()
        before = self.tree(f"{self.before}:{prefix}")
        result = self.tree(self.written())
        old, new = (self.tree(self.written(folder)) for folder in (self.old, self.new))
        conflicts = self.conflicts(before, result)
        # A .gitignore may well name *.rej, so ignored ones are looked for too.
        rejected = {*self.others("--", "*.rej")} - before.keys()
        absent = new.keys() - before.keys() - result.keys()
        ignored = {*self.others("--ignored", "--exclude-standard", "--", *absent)} if absent else ()
        found = []
        for path in sorted({*before, *result, *old, *new, *rejected} - {self.answers_file}):
            row = row_of(path, rows)
            of = [tree.get(path) for tree in (before, result, old, new)]
            if path in conflicts:
                kind = "conflict"
            elif path in rejected:
                kind = "rejected"
            elif path in ignored:
                kind = "ignored"
            elif row is None or row.owner == "owned":
                kind = self.of_the_team(*of)
            else:
                kind = self.of_the_template(*of)
            owner, extend = (row.owner, row.extend) if row else (YOURS, "")
            found.append(Finding(path, kind, owner, extend))
        return found

    @staticmethod
    def of_the_team(
        before: Entry | None, result: Entry | None, old: Entry | None, new: Entry | None
    ) -> str:
        """Judge a file that no update may touch; a new one comes once."""
        if before:
            changed = old and new and old.blob != new.blob
            return "lost" if result != before else "example" if changed else "same"
        if result is None:
            return "deleted"
        return "returned" if old or not new else "arrived"

    def of_the_template(
        self, before: Entry | None, result: Entry | None, old: Entry | None, new: Entry | None
    ) -> str:
        """Judge a file that an update rewrites or merges."""
        was, now, base, release = (
            entry.blob if entry else None for entry in (before, result, old, new)
        )
        if was is None:
            if base:
                return "returned" if now else "deleted"
            return "arrived" if now == release else "missing"
        if was == base:
            if now == release:
                return "same" if was == now else "changed" if now else "removed"
            return "retired" if release is None and now == was else "missing"
        # From here on the file has edits of the team.
        if now is None:
            return "lost"
        if release is None or release in (base, was):
            kept = "kept" if release else "retired" if base else "same"
            return kept if now == was else "lost"
        return "merged" if self.is_merge(now, was, base, release) else "lost"

    def is_merge(self, result: str, ours: str, base: str | None, theirs: str) -> bool:
        """Tell whether git merges three blobs to this result, without a conflict."""
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, name) for name in ("ours", "base", "theirs")]
            for file, blob in zip(files, (ours, base, theirs), strict=True):
                file.write_bytes(self.content(blob) if blob else b"")
            done = subprocess.run(["git", "merge-file", "-p", *files], capture_output=True)
        return done.returncode == 0 and done.stdout == self.content(result)

    def conflicts(self, before: Tree, result: Tree) -> set[str]:
        """List the files with two sides: in git's index, or by marks in what changed."""
        unmerged = paths(self.project, "diff", "-z", "--name-only", "--relative", "--diff-filter=U")
        changed = (path for path, entry in result.items() if before.get(path) != entry)
        return {*unmerged, *(path for path in changed if self.marked(result[path]))}

    def marked(self, entry: Entry) -> bool:
        """Tell whether a file holds the marks of a conflict."""
        is_file = entry.mode.startswith("100")
        return is_file and any(
            line.startswith(MARKERS) for line in self.content(entry.blob).splitlines()
        )

    def content(self, blob: str) -> bytes:
        """Read a blob."""
        command = ["git", "cat-file", "blob", blob]
        return subprocess.run(command, cwd=self.project, capture_output=True, check=True).stdout

    def others(self, *options: str) -> Iterable[str]:
        """List files that are not in git."""
        return paths(self.project, "ls-files", "-z", "--others", *options)

    def written(self, rendered: Path | None = None) -> str:
        """Write the project's files, or what a release generates, as a tree of git.

        Nothing refers to it, so that git forgets it in time; the project's index stays as it is.
        """
        index, repository = git(
            self.project, "rev-parse", "--path-format=absolute", "--git-path", "index", "--git-dir"
        ).splitlines()
        add = ("-c", "core.safecrlf=false", "add", "--all")
        with tempfile.TemporaryDirectory() as folder:
            place = {"GIT_INDEX_FILE": f"{folder}/index"}
            if rendered:
                place |= {"GIT_DIR": repository, "GIT_WORK_TREE": str(rendered)}
                git(rendered, *add, "--force", ".", **place)
                return git(rendered, "write-tree", **place)
            shutil.copy(index, place["GIT_INDEX_FILE"])
            git(self.project, *add, ".", **place)
            prefix = git(self.project, "rev-parse", "--show-prefix").strip()
            return git(self.project, "write-tree", f"--prefix={prefix}", **place)

    def tree(self, name: str) -> Tree:
        """List the files of a tree of git."""
        listed = git(self.project, "ls-tree", "--full-tree", "-r", "-z", name.strip())
        split = (entry.partition("\t") for entry in listed.split("\0") if entry)
        return {path: Entry(*fields.split()[::2]) for fields, _, path in split}
