"""What one job of a workflow wants to change, for another that may write and runs no code of ours.

A folder: `commits.bundle` of git, and `name`, `title`, `body.md`, and `draft` where a person has to
go on. The other job, .github/workflows/_propose.yml, opens the pull request.
"""

import shutil

from tools import screen
from tools.project import ROOT
from tools.template import git

FOLDER = ROOT / "artifacts" / "proposal"
REFERENCE = "refs/proposal"
LONGEST = 60_000
"""Letters of a pull request's text; GitHub takes 65536."""


def write(base: str, name: str, title: str, body: str, *, draft: bool = False) -> None:
    """Write down the commits since `base`, and what a pull request says of them.

    One of the same name is not opened twice: `name` says what is proposed, such as a release.
    """
    clear()
    FOLDER.mkdir(parents=True)
    git("update-ref", REFERENCE, "HEAD")
    git("bundle", "create", "--quiet", str(FOLDER / "commits.bundle"), f"{base}..{REFERENCE}")
    git("update-ref", "-d", REFERENCE)
    more = "\n\n… (cut short: the whole is in the workflow's artifact)"
    text = body if len(body) <= LONGEST else body[: LONGEST - len(more)] + more
    for file, content in (("name", name), ("title", title), ("body.md", text)):
        (FOLDER / file).write_text(f"{content.strip()}\n", encoding="utf-8")
    if draft:
        (FOLDER / "draft").touch()
    screen.what_next(f"Proposed in {FOLDER.relative_to(ROOT)}: {screen.escape(title)}")


def clear() -> None:
    """Propose nothing."""
    shutil.rmtree(FOLDER, ignore_errors=True)


def head() -> str:
    """The commit that is checked out."""
    return git("rev-parse", "HEAD").strip()


def told(base: str) -> str:
    """What the commits since `base` say, for the text of a pull request."""
    return git("log", "--reverse", "--format=### %s%n%n%b", f"{base}..HEAD").strip()
