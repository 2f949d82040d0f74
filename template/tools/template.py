"""The template that this project comes from, and Copier, which renders it.

Copier works in a copy of the last commit, never in the project itself: what it did is looked at
before a file of the project changes, and whatever ends it half-way has changed nothing.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from runtime.errors import ProjectError
from tools import screen

# As in tools.project, which takes a quarter of a second to import.
ROOT = Path(__file__).resolve().parents[1]
COPIER = "copier>=9.19,<10"
ANSWERS = ".copier-answers*.yml"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kubeflow-template"
# Large files are not needed to see what changes; Copier warns of files that it need not find.
QUIETLY = {**os.environ, "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C", "PYTHONWARNINGS": "ignore"}
# The releases among the template's tags, as Copier sorts them.
RELEASE = re.compile(r"v?\d+(\.\d+)+")
LEDGER = "releases.yaml"
NAMES_SHOWN = 5


@dataclass(frozen=True)
class Origin:
    """Where the project comes from, as its answers file says."""

    file: str
    """The answers file, in the project's folder."""
    source: str
    """The template's repository, as Copier was given it."""
    version: str
    """The template's release."""
    extra_steps: tuple[str, ...]
    """The steps besides the core ones."""


@dataclass(frozen=True)
class Release:
    """A release of the template."""

    version: str
    date: str
    """YYYY-MM-DD."""
    yanked: str = ""
    """Why no project is to be updated to it; empty for a good one."""


def origin() -> Origin:
    """What the answers file says.

    Raises:
        ProjectError: it is missing or broken, or does not say.
    """
    names = sorted(path.name for path in ROOT.glob(ANSWERS))
    if len(names) != 1:
        found = f"there are {', '.join(names)}" if names else f"there is no {ANSWERS}"
        raise ProjectError(f"{found}: one file must say how the project was made; see git log")
    (name,) = names
    way_out = f"bring back what was good: git log -- {name}"
    try:
        answers = yaml.safe_load((ROOT / name).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ProjectError(f"{name} cannot be read ({reason}): {way_out}") from None
    if not isinstance(answers, dict):
        raise ProjectError(f"{name} holds no answers: {way_out}")
    source, version = answers.get("_src_path"), answers.get("_commit")
    if not isinstance(source, str) or not re.fullmatch(r"[^-\s].*", source):
        raise ProjectError(f"{name}: _src_path does not say where the template is: {way_out}")
    if not isinstance(version, str) or not re.fullmatch(r"\w[\w.+-]*", version):
        raise ProjectError(f"{name}: _commit does not say which release it was: {way_out}")
    steps = answers.get("extra_steps", [])
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise ProjectError(f"{name}: extra_steps is not a list of names: {way_out}")
    return Origin(name, source, version, tuple(steps))


def require_commit(answers_file: str) -> None:
    """See to it that the project is as its last commit says.

    Raises:
        ProjectError: it is not, or is in no git repository.
    """
    try:
        git("rev-parse", "--verify", "--quiet", "HEAD")
    except ProjectError:
        raise ProjectError(
            "the project is not in git, or has no commit yet: "
            "git init && git add -A && git commit -m 'Start'"
        ) from None
    if changed := changes(ROOT):
        raise ProjectError(
            f"not committed: {some(changed)}. Commit or stash first, so that what the template "
            "changes can be told from your own work"
        )
    if not git("ls-files", "--", answers_file):
        raise ProjectError(f"{answers_file} is not in git: git add --force {answers_file}, commit")


def changes(project: Path, *options: str) -> dict[str, str]:
    """What differs from the last commit: path in the project to the two letters of git status."""
    status = git(
        "status", "--porcelain", "-z", "--no-renames", "-uall", *options, "--", ".", cwd=project
    )
    # The paths begin at the repository's root, of which the project may be a subfolder.
    start = 3 + len(git("rev-parse", "--show-prefix", cwd=project).strip())
    return {entry[start:]: entry[:2] for entry in status.split("\0") if entry}


def repository(template: Origin) -> Path:
    """The template's repository as it is now; of one that is elsewhere, a clone that is kept.

    Raises:
        ProjectError: it cannot be reached, or has lost the project's release.
    """
    url = _url(template.source)
    if template.source.startswith(".") and (not Path(url).is_dir() or Path(url) == ROOT):
        raise ProjectError(
            f"{template.file}: _src_path: {template.source} is relative to where Copier was "
            "started, which nobody knows any more: write the template's absolute path or its URL "
            "there, and commit"
        )
    try:
        folder = Path(url) if Path(url).is_dir() else _clone(url)
        git("rev-parse", "--git-dir", cwd=folder)
    except ProjectError as error:
        raise ProjectError(
            f"the template {template.source} cannot be reached: {error}. Is the network there, and "
            f"may you read it? If it has moved, write its place as _src_path in {template.file} "
            "and commit"
        ) from None
    try:
        git("rev-parse", "--verify", f"{template.version}^{{commit}}", cwd=folder)
    except ProjectError:
        raise ProjectError(
            f"the template {template.source} has no {template.version} any more, from which this "
            "project was made: ask its maintainers to bring back that tag, as their releases.yaml "
            "has it"
        ) from None
    return folder


def releases(repository: Path) -> list[Release]:
    """All releases of the template, oldest first."""
    form = "--format=%(refname:strip=2) %(creatordate:short)"
    tags = [
        line.split() for line in git("for-each-ref", form, "refs/tags", cwd=repository).splitlines()
    ]
    try:
        rows = yaml.safe_load(git("show", f"HEAD:{LEDGER}", cwd=repository))
    except ProjectError:
        rows = []
    yanked = {row["version"]: row["yanked"] for row in rows if row.get("yanked")}
    found = [
        Release(version, date, yanked.get(version, ""))
        for version, date in tags
        if RELEASE.fullmatch(version)
    ]
    return sorted(found, key=lambda release: number(release.version))


def number(version: str) -> tuple[int, ...]:
    """A release as numbers that can be compared; 0.4.0-3-gabcdef is later than 0.4.0.

    Empty for what is no release, such as a commit.
    """
    if not re.match(r"v?\d+\.", version):
        return ()
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("-g")[0]))


def run_hook(
    name: str,
    release: Release,
    made_from: Origin,
    repository: Path,
    *options: str,
    capture: bool = False,
) -> "subprocess.CompletedProcess[str]":
    """Say that a script of the template is run, and run it in a process of its own.

    Raises:
        ProjectError: that release has no such script, or Copier, which it needs, cannot be had.
    """
    script = f"hooks/{name}.py"
    commit = git("rev-parse", f"{release.version}^{{commit}}", cwd=repository).strip()
    screen.notice(
        f"runs {script} of release {release.version} of {made_from.source}, commit {commit[:12]}"
    )
    python = python_with_copier()
    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        place = {"GIT_WORK_TREE": f"{folder}/release", "GIT_INDEX_FILE": f"{folder}/index"}
        files = Path(folder, "release")
        files.mkdir()
        git("read-tree", commit, cwd=repository, **place)
        git("checkout-index", "--all", cwd=repository, **place)
        if not (files / script).exists():
            raise ProjectError(f"release {release.version} has no {script}: use plain Copier")
        command = [python, str(files / script), str(ROOT), f"--repository={repository}"]
        command += [f"--to={release.version}", f"--answers-file={made_from.file}", *options]
        output = subprocess.PIPE if capture else None
        return subprocess.run(command, cwd=ROOT, env=QUIETLY, stdout=output, text=True)


def _clone(url: str) -> Path:
    folder = CACHE / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.git"
    if _offline() and folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # One that is broken, or not there yet, is made anew.
        if not folder.exists() or _run(["git", "remote", "update", "--prune"], folder).returncode:
            with tempfile.TemporaryDirectory(dir=CACHE) as fresh:
                git("clone", "--quiet", "--mirror", "--", url, f"{fresh}/clone")
                shutil.rmtree(folder, ignore_errors=True)
                Path(fresh, "clone").rename(folder)
    return folder


def _url(source: str) -> str:
    """What git calls a repository that Copier calls `source`."""
    for short, host in (("gh:", "github.com"), ("gl:", "gitlab.com")):
        if source.startswith(short):
            return f"https://{host}/{source.removeprefix(short).strip('/')}"
    source = source.removeprefix("git+")
    local = ROOT / Path(source).expanduser()
    return str(local.resolve()) if local.exists() else source


def copier(template: Origin, repository: Path, *arguments: str) -> None:
    """Run Copier without trust: no code of the template runs.

    Raises:
        ProjectError: it cannot be had, or says no.
    """
    command = [python_with_copier(), "-m", "copier", *arguments]
    done = _run(command, environment=_instead(template, repository))
    _check("nothing was changed; Copier says", done)


def _offline() -> bool:
    """Whether somebody has said that there is no network, as uv is told so."""
    return os.environ.get("UV_OFFLINE", "").lower() not in ("", "0", "false")


def _instead(template: Origin, repository: Path) -> dict[str, str]:
    """What has git read the clone that is kept, where there is no network."""
    if not _offline():
        return {}
    there = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    url = _url(template.source)
    variables = {"GIT_CONFIG_COUNT": str(there + 2)}
    # As git is asked for it by Copier, which may add an ending.
    for number, place in enumerate((url, f"{url}.git"), there):
        variables[f"GIT_CONFIG_KEY_{number}"] = f"url.{repository}.insteadOf"
        variables[f"GIT_CONFIG_VALUE_{number}"] = place
    return variables


def python_with_copier() -> str:
    """A Python that has Copier, beside the project's own.

    Raises:
        ProjectError: it cannot be had.
    """
    run = ["uv", "tool", "run", "--python", f"{sys.version_info[0]}.{sys.version_info[1]}"]
    # The package index is asked only when this machine has none that fits.
    for more in (["--offline"], []):
        find = ["python", "-c", "import sys; print(sys.executable)"]
        done = _run([*run, *more, "--from", COPIER, *find])
        if done.returncode == 0:
            return done.stdout.strip()
    raise ProjectError(
        "Copier is not on this machine yet, and could not be fetched from the package index: "
        f"is the network there? `uv tool run '{COPIER}' --version` says more"
    )


@contextmanager
def scratch() -> Iterator[Path]:
    """A copy of the project as its last commit says, for Copier to work in."""
    prefix = git("rev-parse", "--show-prefix").strip()
    with tempfile.TemporaryDirectory(prefix="template-") as folder:
        # Without the hooks of the project, as nobody is working here.
        add = ("-c", f"core.hooksPath={os.devnull}", "worktree", "add", "--quiet", "--detach")
        git(*add, f"{folder}/project")
        try:
            yield Path(folder, "project", prefix)
        finally:
            git("worktree", "remove", "--force", f"{folder}/project")


def take_over(copy: Path, paths: Iterable[str]) -> None:
    """Bring files from the copy into the project."""
    for path in paths:
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(copy / path, ROOT / path)


def git(*arguments: str, cwd: Path = ROOT, **environment: str) -> str:
    """What git prints.

    Raises:
        ProjectError: it is not installed, or says no.
    """
    return _check("git says", _run(["git", *arguments], cwd, environment))


def uv(*arguments: str, cwd: Path = ROOT) -> str:
    """What uv prints.

    Raises:
        ProjectError: it is not installed, or says no.
    """
    return _check("nothing was changed; uv says", _run(["uv", *arguments], cwd))


def some(names: Iterable[str]) -> str:
    """The first few of many names, for a sentence."""
    listed = sorted(names)
    rest = len(listed) - NAMES_SHOWN
    return ", ".join(listed[:NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


# From the project's folder on, as the template may be a path that is relative to it.
def _run(
    command: list[str], cwd: Path = ROOT, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env={**QUIETLY, **(environment or {})},
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
        )
    except FileNotFoundError:
        raise ProjectError(f"{command[0]} is not on the PATH: run this by `make`") from None


def _check(who: str, done: "subprocess.CompletedProcess[str]") -> str:
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        # git and uv go on to explain; a traceback ends with what it is about.
        reasons = [line for line in said if line.startswith(("error", "fatal"))] or said[-1:]
        raise ProjectError(f"{who}: {reasons[0] if reasons else f'exit code {done.returncode}'}")
    return done.stdout
