"""Did an update cost the team any work? Told from git alone, whatever made the update.

Four trees are compared, path by path: the project before the update, its result, and what the old
and the new release generate from the same answers. Three of them say what the result has to be;
where both the team and the template changed a file, that is what git's own merge makes of it.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path, PurePosixPath

from ownership import Row, git, paths, raw_git, row_of

YOURS = "yours"
# What becomes of a file.
KINDS = {
    "conflict": "both the team and the release changed the same lines",
    "merged": "has the team's edits and the release's",
    "kept": "edited by the team; the release leaves it alone",
    "retired": "no longer in the release; stays as it is",
    "deleted": "deleted by the team, and stays so",
    "blocked": "new in the release; .gitignore names it, or a file is in the place of its folder",
    "changed": "as in the new release",
    "removed": "no longer in the release",
    "arrived": "new in the release",
    "example": "the team's, as it was; the release's example of it has changed",
    "same": "as it was",
    "stray": "left behind by the update",
}
# What a sparse checkout leaves off the disk, a release generates all the same.
ADD_ALL = ("-c", "core.safecrlf=false", "-c", "core.sparseCheckout=false", "add", "--all")


@dataclass(frozen=True)
class Entry:
    """A file in a tree of git."""

    mode: str
    blob: str


Tree = Mapping[str, Entry]


@dataclass(frozen=True)
class Finding:
    """What has to become of a file, and whether it did."""

    path: str
    kind: str
    """A key of KINDS."""
    expected: Entry | None
    """What it has to be; None if it has to be gone."""
    right: bool
    """Whether it is so: if not, the update had lost something."""
    owner: str
    """managed, shared or owned; `yours` when the template knows nothing of it."""
    extend: str = ""
    """Where a change of a managed file belongs instead."""
    sides: tuple[Entry | None, ...] = ()
    """Of a conflict that the update did not show: base, the team's, the release's."""


@dataclass(frozen=True)
class Update:
    """An update of a project, to be looked at."""

    project: Path
    """The project's folder: its files are the update's result, in the index or not."""
    old: str
    """The tree that the old release generates from the project's answers of before."""
    new: str
    """The tree that the new release generates from those of now."""
    answers_file: str
    before: str = "HEAD"
    """The commit from which the update started."""

    def findings(self, rows: list[Row]) -> list[Finding]:
        """Say of each file what became of it."""
        prefix = git(self.project, "rev-parse", "--show-prefix").strip()
        names = (f"{self.before}:{prefix}", tree_of(self.project), self.old, self.new)
        before, result, old, new = (self.tree(name) for name in names)
        unmerged = ("diff", "-z", "--name-only", "--relative", "--diff-filter=U")
        conflicts = {*paths(self.project, *unmerged)}
        # A .gitignore may well name *.rej, so ignored ones are looked for too.
        strays = {*self.others("--", "*.rej")} - before.keys()
        absent = new.keys() - before.keys() - result.keys()
        ignored = {*self.others("--ignored", "--exclude-standard", "--", *absent)} if absent else ()
        found = []
        for path in sorted({*before, *result, *old, *new, *strays} - {self.answers_file}):
            row = row_of(path, rows)
            owner, extend = (row.owner, row.extend) if row else (YOURS, "")
            was, now, base, release = (tree.get(path) for tree in (before, result, old, new))
            judge = self.of_the_team if owner in (YOURS, "owned") else self.of_the_template
            kind, expected = judge(was, base, release)
            if path in conflicts:
                kind, expected = "conflict", now
            elif path in strays:
                kind, expected = "stray", None
            elif kind == "arrived" and (path in ignored or within(path, before)):
                kind, expected = "blocked", None
            elif kind == "removed" and now == was:
                # The release leaves it out, and where it is already it stays.
                kind, expected = "retired", was
            right = now == expected and path not in strays
            sides: tuple[Entry | None, ...] = ()
            if kind == "conflict" and path not in conflicts:
                right, sides = False, (base, was, release)
            found.append(Finding(path, kind, expected, right, owner, extend, sides))
        return found

    @staticmethod
    def of_the_team(
        was: Entry | None, base: Entry | None, release: Entry | None
    ) -> tuple[str, Entry | None]:
        """Say what a file has to be that no update may touch; a new one comes once."""
        if was:
            changed = base and release and base.blob != release.blob
            return "example" if changed else "same", was
        if base:
            return "deleted", None
        return "arrived" if release else "stray", release

    def of_the_template(
        self, was: Entry | None, base: Entry | None, release: Entry | None
    ) -> tuple[str, Entry | None]:
        """Say what a file has to be that an update rewrites or merges."""
        if was is None:
            return ("deleted", None) if base else ("arrived", release)
        if base and release and was.mode == base.mode:
            was = replace(was, mode=release.mode)
        if blob(was) == blob(base):
            if release is None:
                return "removed", None
            kind = "same" if blob(release) == blob(was) else "changed"
            return kind, replace(release, mode=was.mode)
        # From here on the file has edits of the team.
        if release is None:
            return "retired" if base else "same", was
        if blob(release) in (blob(base), blob(was)):
            return "kept", was
        merged = self.merged(was, base, release)
        return ("merged", merged) if merged else ("conflict", was)

    def merged(self, ours: Entry, base: Entry | None, theirs: Entry) -> Entry | None:
        """Merge as git does; None if it cannot without a conflict."""
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, name) for name in ("ours", "base", "theirs")]
            for file, entry in zip(files, (ours, base, theirs), strict=True):
                file.write_bytes(self.content(entry))
            if subprocess.run(["git", "merge-file", "--quiet", *files], check=False).returncode:
                return None
            written = git(self.project, "hash-object", "-w", "--no-filters", str(files[0]))
        return replace(ours, blob=written.strip())

    def content(self, entry: Entry | None) -> bytes:
        """Read a file of a tree; nothing if there is none."""
        return raw_git(self.project, "cat-file", "blob", entry.blob) if entry else b""

    def others(self, *options: str) -> Iterable[str]:
        """List files that are not in git."""
        return paths(self.project, "ls-files", "-z", "--others", *options)

    def tree(self, name: str) -> Tree:
        """List the files of a tree of git."""
        listed = git(self.project, "ls-tree", "--full-tree", "-r", "-z", name)
        split = (entry.partition("\t") for entry in listed.split("\0") if entry)
        return {path: Entry(*fields.split()[::2]) for fields, _, path in split}


def tree_of(project: Path, generated: Path | None = None) -> str:
    """Write the project's files, or those that a release generated, as a tree of git.

    Nothing refers to it, so that git forgets it in time; the project's index stays as it is.
    """
    index, repository = git(
        project, "rev-parse", "--path-format=absolute", "--git-path", "index", "--git-dir"
    ).splitlines()
    with tempfile.TemporaryDirectory() as folder:
        place = {"GIT_INDEX_FILE": f"{folder}/index"}
        if generated:
            place |= {"GIT_DIR": repository, "GIT_WORK_TREE": str(generated)}
            git(generated, *ADD_ALL, "--force", ".", **place)
            return git(generated, "write-tree", **place).strip()
        shutil.copy(index, place["GIT_INDEX_FILE"])
        git(project, *ADD_ALL, ".", **place)
        prefix = git(project, "rev-parse", "--show-prefix").strip()
        return git(project, "write-tree", f"--prefix={prefix}", **place).strip()


def within(path: str, tree: Tree) -> bool:
    """Tell whether one of the path's folders is a file, or a link, in a tree."""
    return any(str(folder) in tree for folder in PurePosixPath(path).parents)


def blob(entry: Entry | None) -> str | None:
    """Name the content of a file, whatever its mode."""
    return entry.blob if entry else None


def mend(project: Path, findings: Iterable[Finding]) -> None:
    """Put right what an update has lost, in the files and, of a conflict, in the index."""
    for found in findings:
        if found.right:
            continue
        place = project / found.path
        if found.expected is None:
            place.unlink(missing_ok=True)
            continue
        git(project, "update-index", "--add", "--cacheinfo", *astuple(found.expected), found.path)
        git(project, "checkout-index", "--force", "--", found.path)
        if found.sides:
            stages = [(stage, side) for stage, side in enumerate(found.sides, 1) if side]
            gone = f"0 {'0' * len(found.expected.blob)}\t{found.path}\0"
            lines = [f"{side.mode} {side.blob} {stage}\t{found.path}\0" for stage, side in stages]
            git(project, "update-index", "-z", "--index-info", stdin=gone + "".join(lines))
