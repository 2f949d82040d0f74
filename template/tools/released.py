"""What is released where: one file of an environment, whose history in git is the history.

The file is a ConfigMap that never reaches a cluster: the overlay beside it takes model and image
out of it (`replacements` in its kustomization). Where nothing is served there is no overlay, and
the file is in config/releases/.
"""

import fcntl
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import AfterValidator, Field, model_validator

from runtime.errors import ProjectError
from runtime.settings import Settings
from runtime.store import model_id
from tools import overlays, screen
from tools.commit import author
from tools.project import ROOT, project
from tools.template import git

OVERLAYS = "serving/deploy/overlays"
WITHOUT_OVERLAY = "config/releases"
ORDER = ("dev", "staging", "prod")
"""What a model passes on its way; an environment of another name stands by itself."""
COMMENT = "# Written by `make release` and `make rollback`: an edit by hand is refused.\n"
UNDER_WAY = {
    "MERGE_HEAD": "a merge",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
}
LINES_SHOWN = 15


def _numbers(text: str) -> str:
    found = json.loads(text)
    if not isinstance(found, dict) or not all(isinstance(v, int | float) for v in found.values()):
        raise ValueError("must be a JSON object of numbers")
    return text


class _Quoted(str):
    """A text in quotes: without, 634e12345678 is a number to kustomize."""


class _Dumper(yaml.SafeDumper):
    """Writes quotes where they are asked for."""


_Dumper.add_representer(
    _Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'")
)


class Release(Settings):
    """What is released: a model, and the image of the server that answers with it."""

    model_uri: str
    """Where it is: a folder with `record.json`, `model/` and `sample.json`."""
    model: str = Field(pattern=r"^[0-9a-f]{12}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    image: str = Field(default="", pattern=r"^(\S+@sha256:[0-9a-f]{64})?$")
    """By its digest; empty where nothing is served."""
    run: str = ""
    """The run that trained it, if this was known."""
    metrics: Annotated[str, AfterValidator(_numbers)]
    """A JSON object: of the model, when it was registered."""
    released_at: str
    """UTC, ISO 8601."""
    released_by: str
    reason: str
    takes_back: str = ""
    """Of a rollback, the model that was released until then."""

    @model_validator(mode="after")
    def _is_of_one_model(self) -> Self:
        if self.model != model_id(self.sha256):
            raise ValueError(f"model {self.model} does not have the SHA-256 {self.sha256}")
        if self.model_uri.rpartition("/")[2] != self.model:
            raise ValueError(f"model_uri {self.model_uri} is not of the model {self.model}")
        return self

    @property
    def scores(self) -> dict[str, float]:
        """The metrics as numbers."""
        found: dict[str, float] = json.loads(self.metrics)
        return found

    def same(self, other: "Release") -> bool:
        """Whether both run the same: equal model, equal image."""
        return (self.sha256, self.image) == (other.sha256, other.image)

    def to_yaml(self) -> str:
        """The file's text."""
        plain = self.model_dump()
        optional = ("image", "takes_back")
        manifest = overlays.manifest(
            {k: _Quoted(v) for k, v in plain.items() if v or k not in optional}
        )
        # On one line each, so that a difference is read at a glance.
        text = yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=True)
        return f"{COMMENT}{text}"

    @classmethod
    def from_yaml(cls, text: str, where: str) -> Self:
        """Read the file's text; `where` names it in an error."""
        try:
            content = yaml.safe_load(text)
            data = dict(content["data"])
        except (yaml.YAMLError, KeyError, TypeError, ValueError):
            raise ProjectError(
                f"{where} is no release: `git log -- {where}` shows what it was"
            ) from None
        return cls.parse(data, where=where)


@dataclass(frozen=True)
class Past:
    """A release in the history."""

    commit: str
    release: Release


def now() -> str:
    """This moment, as a release has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def serves(env: str) -> bool:
    """Whether an environment has something that answers requests."""
    return env in overlays.names()


def path(env: str) -> str:
    """The file of an environment's release, in the project's folder."""
    return f"{OVERLAYS}/{env}/release.yaml" if serves(env) else f"{WITHOUT_OVERLAY}/{env}.yaml"


def before(env: str) -> str:
    """The environment in which a model is tried before this one; empty when there is none."""
    order = [name for name in ORDER if name in project().environments]
    place = order.index(env) if env in order else 0
    return order[place - 1] if place else ""


def current(env: str) -> Release | None:
    """What the commit that is checked out releases."""
    _require_commit(env)
    text = _at("HEAD", path(env))
    return Release.from_yaml(text, path(env)) if text else None


def require(env: str) -> Release:
    """What the commit that is checked out releases.

    Raises:
        ProjectError: nothing.
    """
    found = current(env)
    if found is None:
        raise ProjectError(
            f"nothing is released in {env} yet: `make release ENV={env}` releases a model there"
        )
    return found


def history(env: str) -> list[Past]:
    """All releases in an environment, the newest first.

    What somebody committed that is no release is left out.

    Raises:
        ProjectError: this clone does not have the whole history.
    """
    _require_commit(env)
    if git("rev-parse", "--is-shallow-repository").strip() == "true":
        raise ProjectError(
            "this clone has a part of the history only: `git fetch --unshallow`; in CI, "
            "`fetch-depth: 0`"
        )
    found: list[Past] = []
    for commit in git("log", "--format=%H", "--", path(env)).split():
        with suppress(ProjectError):
            text = _at(commit, path(env))
            release = Release.from_yaml(text, path(env))
            if found and found[-1].release == release:
                # A merge, or a comment: the oldest commit is the one that released.
                found.pop()
            found.append(Past(commit, release))
    return found


def standing(env: str) -> list[Release]:
    """The releases that nobody took back, the current one last.

    A rollback takes the last one off, so that one after another goes further back, and none leads
    to what was taken back before.
    """
    if current(env) is None:
        return []
    stack: list[Release] = []
    for past in reversed(history(env)):
        release = past.release
        if release.takes_back:
            rest = stack[:-1]
            while rest and not rest[-1].same(release):
                rest.pop()
            # What it brings back is the same release; if it is not there, somebody changed history.
            stack = rest[:-1] if rest else stack
        stack.append(release)
    return stack


class Turn:
    """The one that releases in this checkout, as it found the environment."""

    def __init__(self, env: str) -> None:
        self.path = path(env)
        self.env = env
        self.standing = standing(env)
        self._head = git("rev-parse", "HEAD").strip()

    @property
    def current(self) -> Release | None:
        """What is released now."""
        return self.standing[-1] if self.standing else None

    def commit(self, release: Release, message: str) -> None:
        """Write the release and commit that file alone; if that fails, all is as it was.

        Raises:
            ProjectError: something else was committed meanwhile, or git or a hook of it says no.
        """
        if git("rev-parse", "HEAD").strip() != self._head or _status(self.path):
            raise ProjectError(
                f"somebody committed here, or changed {self.path}, meanwhile: nothing was "
                f"released; `make release ENV={self.env}` again"
            )
        file = ROOT / self.path
        old = file.read_bytes() if file.exists() else None
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(release.to_yaml(), encoding="utf-8")
            git("add", "--", self.path)
            commit = ("git", "commit", "--quiet", "--only", f"--message={message}", "--", self.path)
            with screen.console.status("Committing, with the hooks of this checkout"):
                done = subprocess.run(
                    commit, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL
                )
            if done.returncode:
                said = (done.stdout + done.stderr).strip().splitlines()[-LINES_SHOWN:]
                raise ProjectError(
                    "nothing was released, as git did not commit it:\n"
                    + "\n".join(f"  {line}" for line in said)
                )
        except BaseException:
            # Ctrl-C may come when the commit is made.
            if git("rev-parse", "HEAD").strip() == self._head:
                git("reset", "--quiet", "--", self.path)
                file.unlink(missing_ok=True) if old is None else file.write_bytes(old)
            raise


@contextmanager
def turn(env: str) -> Iterator[Turn]:
    """Have nobody else release in this checkout meanwhile.

    Raises:
        ProjectError: somebody does; or git is in no state for a commit that all will see.
    """
    _require_commit(env)
    _require_branch()
    if changed := _status(path(env)):
        raise ProjectError(
            f"{changed} was edited by hand: a release is made by `make release ENV={env}`. "
            f"`git restore --staged --worktree {changed}` takes the edit back; what git does not "
            "know, remove"
        )
    folder = Path(ROOT, git("rev-parse", "--git-common-dir").strip())
    with (folder / "release.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            who = lock.read().strip() or "somebody"
            raise ProjectError(
                f"{who} is releasing in this checkout right now: wait until that has ended, then "
                "see `make releases`"
            ) from None
        lock.truncate(0)
        lock.write(author())
        lock.flush()
        try:
            yield Turn(env)
        finally:
            lock.truncate(0)


def _at(commit: str, file: str) -> str:
    """A file's text at a commit; empty when it is not there."""
    if not git("ls-tree", "--name-only", commit, "--", file).strip():
        return ""
    return git("show", f"{commit}:./{file}")


def _status(file: str) -> str:
    """The file, if it differs from the last commit."""
    return file if git("status", "--porcelain", "--ignored", "--", file).strip() else ""


def _require_commit(env: str) -> None:
    try:
        git("rev-parse", "--verify", "--quiet", "HEAD")
    except ProjectError:
        raise ProjectError(
            f"a release in {env} is a commit, and the project is not in git, or has no commit yet: "
            "git init && git add -A && git commit -m 'Start'"
        ) from None


def _require_branch() -> None:
    for name, what in UNDER_WAY.items():
        if Path(ROOT, git("rev-parse", "--git-path", name).strip()).exists():
            raise ProjectError(f"{what} is under way in this checkout: finish or abort it first")
    try:
        git("symbolic-ref", "--quiet", "HEAD")
    except ProjectError:
        raise ProjectError(
            "no branch is checked out, and a commit on none is soon lost: `git switch main`, or "
            "the branch that you release from"
        ) from None
