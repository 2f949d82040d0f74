"""The projects of a fleet: named by folders, by git URLs, or by files that list them."""

import hashlib
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.repository import git, surroundings
from scripts.screen import Refused

URL = re.compile(r"[a-z][a-z0-9+.-]*://|[^/\s]+@[^/\s:]+:", re.IGNORECASE)
COMMENT = re.compile(r"(^|\s)#.*")
PASSWORD = re.compile(r"(?<=http://)[^/\s@]+@|(?<=https://)[^/\s@]+@")
GIT_SAYS = re.compile(r"^git \S+ failed in .*?: (fatal: )?")
# hooks/before_update.py writes it: the command that takes back an update that was stopped.
JOURNAL = "template-update"


@dataclass(frozen=True)
class Member:
    """A project of a fleet."""

    name: str
    """For a person."""
    source: str
    """The folder or the git URL, as it is listed, without a password."""
    folder: Path
    """Where its files are; of one that has a URL, once it is there."""
    url: str = ""
    """Where it is cloned from."""
    clone: Path | None = None
    """The clone of that URL, which is the fleet's own; none of a person's folder."""

    @property
    def key(self) -> str:
        """Name it in a file's name, short and unlike any other."""
        name = re.sub(r"[^\w.-]+", "-", self.name.rpartition("/")[2])
        return f"{name}-{digest(str(self.folder))}"

    def bring(self) -> None:
        """Clone its repository, or bring the clone up to date; leave a person's folder alone.

        A clone in which conflicts are being resolved stays as it is.

        Raises:
            Refused: the URL cannot be reached, or there is no such folder.
        """
        if self.clone:
            try:
                if self.clone.exists():
                    update_clone(self.clone)
                else:
                    make_clone(self.url, self.clone)
            except Refused as refusal:
                raise Refused(f"{self.source} cannot be fetched: {one_line(refusal)}") from None
        if not self.folder.exists():
            where = "in its repository" if self.clone else "there"
            raise Refused(f"{self.folder} is not {where}: name a folder or a git URL.")
        if not self.folder.is_dir():
            raise Refused(f"{self.folder} is a file: name the project's folder.")

    @property
    def repository(self) -> str:
        """Name the repository that it is in, which it may share with others."""
        if self.clone or not self.folder.is_dir():
            return str(self.clone or self.folder)
        try:
            return git(self.folder, "rev-parse", "--path-format=absolute", "--git-common-dir")
        except Refused:
            return str(self.folder)


def members(named: Iterable[str], workspace: Path) -> list[Member]:
    """Find the projects that are named, each once.

    Raises:
        Refused: none is, or a list cannot be read.
    """
    found: dict[Path, Member] = {}
    for text, base in entries(named):
        member = url_member(text, workspace) if URL.match(text) else folder_member(text, base)
        found.setdefault(member.folder, member)
    if not found:
        raise Refused(
            "No project is named: PROJECTS= takes folders, git URLs, or a file with one a line."
        )
    return list(found.values())


def entries(named: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Give what is named, by itself or in a list, and the folder from which paths lead there."""
    for text in named:
        if URL.match(text) or not Path(text).expanduser().is_file():
            yield text, Path.cwd()
            continue
        path = Path(text).expanduser()
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{path} cannot be read as a list of projects: {error}") from None
        listed = [line for line in (COMMENT.sub("", line).strip() for line in lines) if line]
        if not listed:
            raise Refused(f"{path} lists no project: write a folder or a git URL on each line.")
        yield from ((line, path.resolve().parent) for line in listed)


def url_member(text: str, workspace: Path) -> Member:
    """Read a git URL, of which `#folder` names a project in a larger repository."""
    url, _, subfolder = text.partition("#")
    parts = re.split(r"[/:]", url.rstrip("/").removesuffix(".git"))
    clone = workspace / "clones" / f"{parts[-1]}-{digest(url)}"
    name = "/".join(part for part in parts[-2:] if part) + (f"#{subfolder}" if subfolder else "")
    return Member(name, without_password(text), clone / subfolder, url, clone)


def folder_member(text: str, base: Path) -> Member:
    """Read the path of a folder."""
    return Member(text, text, (base / Path(text).expanduser()).resolve())


def make_clone(url: str, clone: Path) -> None:
    """Clone a repository: the folder is there complete, or not at all."""
    clone.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".clone-", dir=clone.parent) as fresh:
        git(clone.parent, "clone", "--quiet", "--", url, f"{fresh}/clone")
        Path(fresh, "clone").rename(clone)


def update_clone(clone: Path) -> None:
    """Fetch, and bring the default branch up to date."""
    if undo := stopped(clone):
        # Nobody works in a clone whose update was stopped in the middle.
        command = ["bash", "-c", undo]
        subprocess.run(command, cwd=clone, env=surroundings(), capture_output=True, check=False)
    git(clone, "fetch", "--quiet", "--prune", "origin")
    if not git(clone, "status", "--porcelain"):
        default = git(clone, "symbolic-ref", "--short", "refs/remotes/origin/HEAD")
        git(clone, "switch", "--quiet", default.removeprefix("origin/"))
        git(clone, "merge", "--quiet", "--ff-only", default)


def stopped(repository: Path) -> str:
    """Return the command that takes back an update that was stopped in the middle, if one was."""
    journal = repository / git(repository, "rev-parse", "--git-path", JOURNAL)
    return journal.read_text("utf-8") if journal.exists() else ""


def digest(text: str) -> str:
    """Tell two texts apart in a few letters."""
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def without_password(text: str) -> str:
    """Leave out what a URL says of the user."""
    return PASSWORD.sub("", text)


def one_line(what: object) -> str:
    """Write on one line what git says, without passwords."""
    return without_password(GIT_SAYS.sub("", " ".join(str(what).split())))
