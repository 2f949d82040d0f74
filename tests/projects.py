"""Generated projects with their own environment, shared by the tests that run their verbs."""

import atexit
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Template, commit, git
from pytest_copie.plugin import Copie

from scripts.render import answers, online, whole
from scripts.repository import surroundings

TIMEOUT = 600
# What a step prints before it sleeps.
ASLEEP = "FAST ASLEEP"
# A developer's tools must not stand in for those that a project installs.
OWN_TOOLS = ("ruff", "lint-imports", "pre-commit", "pytest", "jupyter")


def flavour(name: str) -> Any:
    """Return a flavour as a parameter: all its tests are for one worker, which makes it once."""
    return pytest.param(name, marks=pytest.mark.xdist_group(name))


FLAVOURS = [flavour(name) for name in whole()]
ONLINE = [flavour(name) for name in online()]


@dataclass(frozen=True)
class Done:
    """What a verb did."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Return all that a person sees."""
        return self.out + self.err

    def succeeded(self) -> "Done":
        """Return itself, unless it failed."""
        assert self.code == 0, self.said
        return self

    def failed(self, *words: str) -> "Done":
        """Return itself, if it failed as it ought to: with a sentence, not with a traceback."""
        assert self.code != 0, self.said
        assert "Traceback" not in self.said, self.said
        for word in words:
            assert word in self.err, f"{word!r} is not in:\n{self.err}"
        return self


@dataclass(frozen=True)
class Generated:
    """A generated project."""

    path: Path

    def make(self, *arguments: str, **environment: str | None) -> Done:
        """Run make as on a machine that has uv and no tools of Python; None unsets a variable."""
        return self._run(["make", *arguments], _changed(environment))

    @property
    def package(self) -> Path:
        """Return the folder of the Python package."""
        return next(self.path.glob("src/*/model.py")).parent

    @property
    def last_run(self) -> dict[str, Any]:
        """Read the record of the newest run."""
        path = max(self.path.glob("artifacts/runs/*/run.json"))
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return record

    @property
    def states(self) -> dict[str, str]:
        """Read the state of each step of the newest run."""
        return {name: step["state"] for name, step in self.last_run["steps"].items()}

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text in a file that must be there."""
        file = self.path / path
        text = file.read_text("utf-8")
        assert old in text, f"{old!r} is not in {path}"
        file.write_text(text.replace(old, new), encoding="utf-8")

    def source(self, source: str, **more: str) -> None:
        """Have the pipeline read other data, all else as it was generated."""
        git(self.path, "checkout", "--quiet", "HEAD", "--", "config/project.yaml")
        keys = {"source": source, **more}
        lines = "\n  ".join(f"{key}: {json.dumps(value)}" for key, value in keys.items())
        file = self.path / "config/project.yaml"
        text = re.sub(r"source: \S+", lambda _: lines, file.read_text("utf-8"), count=1)
        file.write_text(text, encoding="utf-8")

    def python(self, code: str, **environment: str | None) -> Done:
        """Run Python in the project's environment; None unsets a variable."""
        return self._run([".venv/bin/python", "-c", code], _changed(environment))

    def shipped_data(self, path: str, change: str = "") -> None:
        """Write the data that the project comes with to a file, changed by a line of Python."""
        self.python(
            f"""
from pathlib import Path
from runtime import sources
from tools.project import project
path = Path({path!r})
path.parent.mkdir(exist_ok=True)
frame = sources.read(project().settings("ingest").source, max_bytes=2**30)
{change}
if path.suffix == ".csv":
    frame.to_csv(path, index=False)
elif path.suffix == ".parquet":
    frame.to_parquet(path)
else:
    import sqlite3
    frame.to_sql("examples", sqlite3.connect(path), index=False)
"""
        ).succeeded()

    @property
    def proposal(self) -> dict[str, str]:
        """Read what is proposed, by the names of its files; nothing if nothing is."""
        files = (self.path / "artifacts/proposal").glob("*")
        return {file.name: file.read_text("utf-8") for file in files if file.suffix != ".bundle"}

    def unpack(self, base: str, to: Path) -> str:
        """Bring the proposed commits to who has a commit and no later one; say their subjects."""
        git(to.parent, "init", "--quiet", str(to))
        git(to, "fetch", "--quiet", "--no-tags", str(self.path), base)
        git(to, "reset", "--quiet", "--hard", "FETCH_HEAD")
        bundle = self.path / "artifacts/proposal/commits.bundle"
        git(to, "fetch", "--quiet", str(bundle), "refs/proposal")
        git(to, "merge", "--quiet", "--ff-only", "FETCH_HEAD")
        return git(to, "log", "--reverse", "--format=%s", f"{base}..HEAD")

    def _run(self, command: list[str], environment: dict[str, str]) -> Done:
        done = subprocess.run(
            command,
            cwd=self.path,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def started(self, file: str) -> Callable[[], bool]:
        """Return whether a file is in the folder of a run that begins after this call."""
        runs = self.path / "artifacts/runs"
        before = set(runs.glob("*"))
        return lambda: any((folder / file).exists() for folder in set(runs.glob("*")) - before)

    def fall_asleep(self) -> None:
        """Have every step that imports the model sleep for long."""
        model = self.package / "model.py"
        sleep = f"import time\n\nprint({ASLEEP!r}, flush=True)\ntime.sleep(300)\n"
        model.write_text(sleep + model.read_text("utf-8"), encoding="utf-8")

    def asleep(self, step: str) -> Callable[[], bool]:
        """Return whether a step sleeps, in a run that begins after this call."""
        runs = self.path / "artifacts/runs"
        before = set(runs.glob("*"))

        def sleeps() -> bool:
            logs = [folder / f"{step}.log" for folder in set(runs.glob("*")) - before]
            return any(ASLEEP in log.read_text("utf-8") for log in logs if log.exists())

        return sleeps

    def interrupt(self, verb: str, when: Callable[[], bool], **environment: str) -> Done:
        """Run a verb and press Ctrl-C as soon as something is true."""
        running = subprocess.Popen(
            ["make", verb],
            cwd=self.path,
            env={**machine(), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Where the tests themselves run in the background, Ctrl-C is ignored, and inherited so.
            preexec_fn=heed_interrupts,
        )
        try:
            deadline = time.monotonic() + TIMEOUT
            while not when():
                assert running.poll() is None, "it ended before it could be stopped"
                assert time.monotonic() < deadline
                time.sleep(0.02)
            os.killpg(running.pid, signal.SIGINT)
            out, err = running.communicate(timeout=60)
            # An orphan is not gone before it is buried.
            deadline = time.monotonic() + 10
            while group_lives(running.pid):
                assert time.monotonic() < deadline, "what it has started runs on"
                time.sleep(0.02)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
        return Done(running.returncode, out, err)


def _changed(environment: Mapping[str, str | None]) -> dict[str, str]:
    merged = {**machine(), **environment}
    return {name: value for name, value in merged.items() if value is not None}


def group_lives(leader: int) -> bool:
    """Return whether a process of a group is left."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def heed_interrupts() -> None:
    """Let Ctrl-C end a process, as on a terminal."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass(frozen=True)
class Life:
    """A flavour's project, and what it said when it was made."""

    project: Generated
    first: Done
    """The first `make setup check test run`, of the files as they were generated."""


_projects: dict[str, Generated] = {}
_lives: dict[str, Life] = {}


def generated(flavour: str, template: Template, copie: Copie) -> Generated:
    """Generate a flavour, once in this process."""
    if flavour not in _projects:
        result = copie.copy(answers(flavour), template_dir=template.path)
        assert result.exception is None, result.exception
        assert result.project_dir is not None
        git(result.project_dir, "init", "--quiet", "--initial-branch=main")
        commit(result.project_dir, "Generate")
        _projects[flavour] = Generated(result.project_dir)
    return _projects[flavour]


def ready(flavour: str, template: Template, copie: Copie) -> Generated:
    """Generate a flavour whose verbs work, but which has not run: for verbs beside the model."""
    project = generated(flavour, template, copie)
    if not (project.path / "uv.lock").exists():
        project.make("setup").succeeded()
        commit(project.path, "Lock")
    return project


def life(flavour: str, template: Template, copie: Copie) -> Life:
    """Generate a flavour, once in this process, and run all its verbs."""
    if flavour not in _lives:
        project = generated(flavour, template, copie)
        _lives[flavour] = Life(project, project.make("setup", "check", "test", "run"))
        commit(project.path, "Lock")
    return _lives[flavour]


@contextmanager
def restored(project: Generated) -> Iterator[Generated]:
    """Give a committed project to a test, and take back what the test did to its files.

    Nothing is released before and after: with a champion, a run decides otherwise.
    """
    head = git(project.path, "rev-parse", "HEAD").strip()
    try:
        yield project
    finally:
        (project.path / "artifacts/models/champion.json").unlink(missing_ok=True)
        git(project.path, "reset", "--quiet", "--hard", head)
        git(project.path, "clean", "--quiet", "-fd")


@functools.cache
def machine() -> dict[str, str]:
    """Give the environment of a machine with uv, git, make and Python, but no developer's tools."""
    folder = Path(tempfile.mkdtemp(prefix="machine-"))
    atexit.register(shutil.rmtree, folder)
    kept = dict(surroundings())
    uv = kept.pop("UV", None) or shutil.which("uv")
    assert uv, "uv is needed: run the tests by make test"
    (folder / "uv").symlink_to(uv)
    (folder / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    # Bytecode is most of what makes a second import fast.
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    # A stand-in for AWS is for the tests that ask for it.
    kept.pop("AWS_ENDPOINT_URL", None)
    folders = kept.get("PATH", os.defpath).split(os.pathsep)
    clean = [f for f in folders if not any((Path(f) / tool).exists() for tool in OWN_TOOLS)]
    return {**kept, "PATH": os.pathsep.join([str(folder), *clean])}
