"""`make quickstart` and `make render`: a project from a checkout, or a sentence and nothing."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Template, git
from projects import OWN_TOOLS, Generated, machine

from scripts import render
from scripts.repository import surroundings
from scripts.screen import Refused


def quickstart(dest: str | Path, **environment: str) -> tuple[int, str]:
    """Run the command in this checkout, and return its exit code and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.quickstart"],
        cwd=ROOT,
        env={**surroundings(), "DEST": str(dest), **environment},
        check=False,
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    return done.returncode, said


def listing(folder: Path) -> dict[str, tuple[float, int]]:
    """List all files with time and size."""
    return {str(path): (path.lstat().st_mtime, path.lstat().st_size) for path in folder.rglob("*")}


@pytest.mark.parametrize("what", ["folder", "empty folder", "file", "broken link"])
def test_what_is_there_is_left_alone(what: str, tmp_path: Path) -> None:
    """Whatever stands at DEST stays as it is, and the sentence names it."""
    dest = tmp_path / "project"
    if what == "broken link":
        dest.symlink_to("nowhere")
    elif what == "file":
        dest.write_text("mine")
    else:
        dest.mkdir()
        if what == "folder":
            (dest / "mine").write_text("mine")
    before = listing(tmp_path)
    code, said = quickstart(dest)
    assert code == 1
    assert f"{dest} is there already" in said
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("dest", "words"),
    [
        ("", "DEST is empty"),
        ("inside", "inside this checkout"),
        ("/dev/null/x", "cannot be made"),
    ],
)
def test_a_destination_that_cannot_be(dest: str, words: str) -> None:
    """The sentence says why, and that another DEST is to be chosen."""
    code, said = quickstart(dest)
    assert code == 1
    assert words in said
    assert "DEST" in said
    assert not (ROOT / "inside").exists()


def test_without_git(tmp_path: Path) -> None:
    """It says what to install."""
    code, said = quickstart(tmp_path / "project", PATH=str(tmp_path))
    assert code == 1
    assert "git is not installed" in said
    assert not list(tmp_path.iterdir())


def test_a_changed_checkout(draft: Template, tmp_path: Path) -> None:
    """What a developer has not committed yet is generated too, new files included."""
    (draft.path / "template/project.mk").write_text("# Changed.\n")
    (draft.path / "template/new.txt").write_text("new\n")
    status = git(draft.path, "status", "--porcelain")
    render.generate("laptop", tmp_path / "project", draft.path)
    assert (tmp_path / "project/project.mk").read_text() == "# Changed.\n"
    assert (tmp_path / "project/new.txt").exists()
    assert git(draft.path, "status", "--porcelain") == status


def test_an_unknown_flavour() -> None:
    """Those that exist are listed."""
    with pytest.raises(Refused, match="laptop, "):
        render.answers("lap")


def test_the_laptop_flavour_is_the_default() -> None:
    """It writes down no answer, so it can differ from no default."""
    assert render.answers("laptop") == {}


@pytest.fixture
def clone(template: Template, tmp_path: Path) -> Generated:
    """Clone this repository freshly, to a path with a space."""
    git(tmp_path, "clone", "--quiet", str(template.path), "my clone")
    return Generated(tmp_path / "my clone")


@pytest.mark.project
def test_on_a_fresh_machine(clone: Generated, tmp_path: Path) -> None:
    """With an empty home and no uv it trains a model; a second call touches nothing."""
    tools = tmp_path / "bin"
    tools.mkdir()
    folders = [Path(folder) for folder in machine()["PATH"].split(os.pathsep)]
    for tool in {path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}:
        found = shutil.which(tool, path=machine()["PATH"])
        if found and tool not in {"uv", "uvx", *OWN_TOOLS}:
            (tools / tool).symlink_to(found)
    (tmp_path / "home").mkdir()
    fresh: dict[str, str | None] = {"HOME": str(tmp_path / "home"), "PATH": str(tools)}
    for name in ("UV_CACHE_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL"):
        fresh[name] = None
    dest = tmp_path / "projects" / "first-model"
    done = clone.make("quickstart", f"DEST={dest}", **fresh).succeeded()

    project = Generated(dest)
    assert set(project.states.values()) == {"ran"}
    for name, value in project.last_run["metrics"].items():
        assert f"{name} {value:.4f}" in done.out
    assert done.out.splitlines()[-3] == f"→ cd {dest}"
    assert git(dest, "status", "--porcelain") == ""
    assert len(git(dest, "log", "--format=%H").split()) == 2
    assert git(clone.path, "status", "--porcelain") == ""

    before = listing(dest)
    clone.make("quickstart", f"DEST={dest}", **fresh).failed(str(dest), "left as it is")
    assert listing(dest) == before


@pytest.mark.project
def test_ctrl_c(clone: Generated, tmp_path: Path) -> None:
    """Stopped while it sets up, it leaves nothing, and the same command succeeds after."""
    dest = tmp_path / "projects" / "project"
    done = clone.interrupt("quickstart", (dest / ".venv").exists, DEST=str(dest))
    assert done.code in {2, 130, -signal.SIGINT}
    assert "Traceback" not in done.said, done.said
    assert "taken away" in done.out
    assert not list(dest.parent.iterdir())


@pytest.mark.project
def test_a_setup_that_fails(clone: Generated, tmp_path: Path) -> None:
    """Its own words are shown, and nothing is left to trip over."""
    dest = tmp_path / "projects" / "my python3 project"
    done = clone.make("quickstart", f"DEST={dest}").failed("python3", "make setup failed")
    assert "taken away" in done.out
    assert not list(dest.parent.iterdir())


@pytest.mark.project
def test_without_network(clone: Generated, tmp_path: Path) -> None:
    """It asks whether the network is there."""
    offline = {"UV_OFFLINE": "1", "UV_CACHE_DIR": str(tmp_path / "cache")}
    dest = tmp_path / "project"
    clone.make("quickstart", f"DEST={dest}", **offline).failed("is the network there")
    assert not dest.exists()


@pytest.mark.project
def test_render(clone: Generated, tmp_path: Path) -> None:
    """`make render` leaves a flavour where DEST says."""
    dest = tmp_path / "project"
    clone.make("render", "FLAVOUR=xgboost-regression", f"DEST={dest}").succeeded()
    assert "xgboost" in (dest / ".copier-answers.yml").read_text()
