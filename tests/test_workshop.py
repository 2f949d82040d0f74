"""The workshop: each lab can be failed, solved and begun again, in every kind of project."""

import re
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import engine
import pexpect
import pytest
from conftest import Template, commit, git
from engine import free_port
from labs import SOLUTIONS, Solution, Walk, own_answer, serving, started
from projects import Generated, flavour, machine
from rich.console import Console
from rich.table import Table

from scripts.render import answers

pytestmark = [pytest.mark.project, pytest.mark.workshop]
BLOCK = re.compile(r"^ *```sh\n(?P<commands>.*?)^ *```", re.MULTILINE | re.DOTALL)
# Commands of the pages that a walk does not type, and why.
REASONS = {
    "make drift-demo": "tests/test_monitoring.py runs it; it takes two minutes",
    "make setup": "the walk begins after it",
    "make access ENV=dev": "needs a cluster; tests/test_access.py",
    "make images ENV=dev PUSH=1": "needs a registry; tests/test_images.py",
    "make run RUNNER=cluster ENV=dev": "needs a cluster; tests/test_runners.py",
    "make runs ENV=dev": "needs a cluster; tests/test_runs.py",
}
IN_CONTAINERS = {"make images", "make run RUNNER=docker", "make images CHECK=1"}
# Settings that are better, and worse; rows that are enough; a bar that is too low.
WALKS: dict[str, tuple[dict[str, Any], dict[str, Any], int, float]] = {
    "laptop": ({"regularisation": 2.0}, {"regularisation": 0.3}, 440, 0.5),
    "xgboost-regression": ({"depth": 1}, {"depth": 6}, 340, 1000.0),
}
LAPTOP_FLAVOUR = "laptop"
CLONE = "copier-kubeflow"
ON_LAPTOP = pytest.param(LAPTOP_FLAVOUR, marks=pytest.mark.xdist_group("w-laptop"))
LAPTOP = pytest.mark.parametrize("walked", [ON_LAPTOP], indirect=True)
_walks: dict[str, Walk] = {}


def walk(name: str, template: Template, folder: Path) -> Walk:
    """Give a project of a newcomer, set up; a flavour's is made once in this process.

    That of the laptop is made as the README says.
    """
    if name not in _walks:
        started = time.monotonic()
        project = Generated(folder / "project")
        if name == LAPTOP_FLAVOUR:
            git(folder, "clone", "--quiet", str(template.path), CLONE)
            quickstart = ("quickstart", f"DEST={project.path}")
            Generated(folder / CLONE).make(*quickstart).succeeded()
        else:
            template.project(project.path, **answers(name))
            project.make("setup").succeeded()
            commit(project.path, "Lock")
        # Any other is the laptop's problem, with other parts.
        _walks[name] = Walk(project, *WALKS.get(name, WALKS[LAPTOP_FLAVOUR]))
        _walks[name].seconds["clone, make quickstart"] = time.monotonic() - started
    return _walks[name]


@pytest.fixture(params=[pytest.param(n, marks=pytest.mark.xdist_group(f"w-{n}")) for n in WALKS])
def walked(
    request: pytest.FixtureRequest, template: Template, tmp_path_factory: pytest.TempPathFactory
) -> Walk:
    return walk(request.param, template, tmp_path_factory.mktemp("workshop"))


def commands(page: Path) -> set[str]:
    """List what a page tells to type, without comments and what a person fills in."""
    text = "".join(match["commands"] for match in BLOCK.finditer(page.read_text("utf-8")))
    lines = (re.split(r"  +#|<", line.strip())[0].strip() for line in text.splitlines())
    return {line for line in lines if line}


def solved(walked: Walk, number: int, solution: Solution) -> None:
    """Fail a lab, make its mistakes, solve it."""
    started = time.monotonic()
    walked.make(f"workshop LAB={number}").succeeded()
    first = walked.check(number)
    assert first.code, f"lab {number} is done before it was begun\n{first.said}"
    assert "hint" in first.out
    for mistake in solution.mistakes:
        words = mistake(walked)
        said = walked.check(number)
        assert said.code, said.said
        assert words in said.out, f"lab {number}, {mistake.__name__}: {said.said}"
        assert "  hint" in said.out
    solution.solve(walked)
    said = walked.check(number).succeeded()
    assert f"Lab {number} is done" in said.out
    walked.seconds[f"lab {number}"] = time.monotonic() - started


def test_labs(walked: Walk, capsys: pytest.CaptureFixture[str]) -> None:
    """Labs 1 to 9 and 12, one after the other, in one project, without network; then an update.

    `make newcomer` shows how long each takes a machine that has read the solutions.
    """
    with pytest.MonkeyPatch.context() as patch:
        # What is not there after `make setup workshop-setup` cannot be had.
        walked.make("workshop-setup").succeeded()
        patch.setitem(machine(), "UV_OFFLINE", "1")
        begun_again(walked)
        for number, solution in SOLUTIONS.items():
            online = (walked.project.path / "tools/serve.py").exists()
            if number == 7 and online:
                started = time.monotonic()
                served(walked)
                walked.seconds["lab 7"] = time.monotonic() - started
            else:
                solved(walked, number, solution)
            if number == 9:
                git(walked.project.path, "switch", "--quiet", "main")
                walked.settings_back()
    known = walked.typed | REASONS.keys() | IN_CONTAINERS
    for page in (walked.project.path / "workshop").glob("[0-9]*.md"):
        assert commands(page) <= known, page.name
    listed = walked.make("workshop").succeeded().out
    assert listed.count("✓") == len(SOLUTIONS)
    clone = walked.project.path.parent / CLONE
    if clone.exists():
        the_next_release(walked, clone)
    table = Table("what", "seconds", title=walked.project.path.name)
    for what, seconds in {**walked.seconds, "all": sum(walked.seconds.values())}.items():
        table.add_row(what, f"{seconds:.0f}")
    with capsys.disabled():
        Console().print(table)


def the_next_release(walked: Walk, clone: Path) -> None:
    """The platform releases something, and the project gets it, with all that was done in it."""
    started = time.monotonic()
    (clone / "template/docs/new.md").write_text("New\n", encoding="utf-8")
    commit(clone, tag="1000.0.0")
    answers_file = walked.project.path / ".copier-answers.yml"
    text = re.sub("_src_path: .*", f"_src_path: {clone}", answers_file.read_text("utf-8"))
    answers_file.write_text(text, encoding="utf-8")
    commit(walked.project.path, "The template is where it was")
    before = (walked.project.package / "features.py").read_bytes()
    walked.project.make("update", "QUICK=1").succeeded()
    assert (walked.project.path / "docs/new.md").exists()
    assert (walked.project.package / "features.py").read_bytes() == before
    walked.seconds["make update"] = time.monotonic() - started


def begun_again(walked: Walk) -> None:
    """A reset brings back what was, and keeps what is: committed, changed, new; not the ignored."""
    path = walked.project.path
    before = git(path, "rev-parse", "HEAD^{tree}")
    walked.make("workshop LAB=2").succeeded()
    walked.project.edit("README.md", "## Words", "## Our words")
    (path / "committed.txt").write_text("committed\n")
    commit(path, "Work")
    walked.edit("model.py", "import numpy", "# Not committed\nimport numpy")
    (path / "new.txt").write_text("new\n")
    (path / ".gitignore").open("a").write("secret.txt\n")
    (path / "secret.txt").write_text("of nobody else\n")
    (path / "project.mk").unlink()
    now = {each: (path / each).read_bytes() for each in ("new.txt", "committed.txt", ".gitignore")}

    # An older one was deleted.
    git(path, "branch", "lab-2-kept-2")
    said = walked.make("workshop-reset LAB=2").succeeded().out
    git(path, "branch", "--quiet", "-D", "lab-2-kept-2")
    assert git(path, "rev-parse", "HEAD^{tree}") == before
    assert git(path, "status", "--porcelain").split() == ["??", "secret.txt"]
    (branch,) = re.findall(r"on the branch (\S+)\.", said)
    for each, content in now.items():
        assert git(path, "show", f"{branch}:{each}").encode() == content
    assert "# Not committed" in git(
        path, "show", f"{branch}:{walked.project.package.relative_to(path)}/model.py"
    )
    assert "project.mk" not in git(path, "ls-tree", "--name-only", branch).split()
    assert git(path, "branch", "--contains", "HEAD~1", "--format=%(refname:short)").split() == [
        branch,
        "main",
    ]
    (path / "secret.txt").unlink()
    assert "No file had changed" in walked.make("workshop-reset LAB=2").succeeded().out


def served(walked: Walk) -> None:
    """Lab 7, with a model server."""
    walked.make("workshop LAB=7").succeeded()
    nobody = f"URL=http://127.0.0.1:{free_port()}"
    assert "nothing answers" in walked.check(7, nobody).out
    with serving(walked) as url:
        walked.make(f"predict URL={url}").succeeded()
        walked.typed.add("make predict")
        walked.make("skew").succeeded()
        said = walked.check(7, f"URL={url}")
        assert said.code
        assert "nothing more" in said.out
        champion = walked.champion
        walked.make(f"release RUN={walked.models[0]}").succeeded()
        assert "it answers with model" in walked.check(7, f"URL={url}").out
        walked.make(f"release RUN={champion}").succeeded()
    own_answer(walked)
    with serving(walked) as url:
        walked.check(7, f"URL={url}").succeeded()


@pytest.mark.xdist_group("w-batch-only")
def test_without_a_model_server(
    template: Template, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Lab 7 of a team that predicts whole tables."""
    walked = walk("batch-only", template, tmp_path_factory.mktemp("workshop"))
    walked.make("run").succeeded()
    walked.make("release").succeeded()
    solved(walked, 7, SOLUTIONS[7])
    assert commands(walked.project.path / "workshop/07-serve.md") <= walked.typed


@LAPTOP
def test_bad_input(walked: Walk) -> None:
    """What cannot be done is said in a sentence, and changes nothing."""
    path = walked.project.path
    progress = path / "artifacts/workshop/progress.json"
    before = progress.read_bytes() if progress.exists() else b""
    for verb in ("workshop", "workshop-check", "workshop-reset"):
        walked.make(f"{verb} LAB=99").failed("no lab '99'", "LAB is one of 1, 2")
    walked.make("workshop-reset").failed("make workshop-reset LAB=3")
    walked.make("workshop-reset LAB=11").failed("never opened", "make workshop LAB=11")
    assert (progress.read_bytes() if progress.exists() else b"") == before
    try:
        progress.parent.mkdir(parents=True, exist_ok=True)
        progress.write_text("{", encoding="utf-8")
        walked.make("workshop").failed("progress.json cannot be read")
    finally:
        progress.write_bytes(before or b'{"labs": {}}')
    page = path / "workshop/02-parameter.md"
    text = page.read_text("utf-8")
    try:
        page.write_text("# Ours\n", encoding="utf-8")
        walked.make("workshop").failed("workshop/02-parameter.md", "git checkout")
    finally:
        page.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("project", [flavour("laptop")], indirect=True)
def test_labs_that_break_data_which_have_no_such_columns_yet(project: Generated) -> None:
    """A team whose `read` renames is told so; nothing is written."""
    renamed = "frame = frame.rename(columns={'mean radius': 'radius'})"
    project.shipped_data("data/raw.csv", renamed)
    project.source("data/raw.csv")
    for lab in ("4", "8"):
        project.make("workshop", f"LAB={lab}").failed("'mean radius'", "the project came with")
    assert not [*project.path.glob("artifacts/workshop/*.csv")]


@LAPTOP
def test_a_person_chooses(walked: Walk) -> None:
    """On a terminal `make workshop` asks which lab; Ctrl-C leaves, and is no error."""
    # The second keeps the prompt from asking the terminal where the cursor is.
    terminal = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    chosen = []
    for keys in ("\r", "\x1b[B\r", "\x03"):
        child = pexpect.spawn(
            "make",
            ["workshop"],
            cwd=str(walked.project.path),
            env={**machine(), **terminal},
            dimensions=(50, 120),
            encoding="utf-8",
            timeout=60,
        )
        child.expect("Which lab")
        child.send(keys)
        child.expect(pexpect.EOF)
        chosen += re.findall(r"workshop-check LAB=(\d+)", str(child.before))
        child.close()
        assert child.exitstatus == 0
    first, second = map(int, chosen)
    assert second == first + 1


def at_first(walked: Walk) -> str:
    """Find the commit with which a participant begins."""
    added = ["--format=%H", "--diff-filter=A", "main", "--", "uv.lock"]
    return git(walked.project.path, "log", *added).strip()


def made_far_away(walked: Walk, template: Template, folder: Path) -> Generated:
    """Clone a project, and have it come from a template that has to be fetched: far.git."""
    git(folder, "clone", "--quiet", "--bare", str(template.path), "far.git")
    git(folder, "clone", "--quiet", str(walked.project.path), "near")
    near = Generated(folder / "near")
    git(near.path, "switch", "--quiet", "-C", "main", at_first(walked))
    answers_file = near.path / ".copier-answers.yml"
    far = (folder / "far.git").as_uri()
    text = re.sub("_src_path: .*", f"_src_path: {far}", answers_file.read_text("utf-8"))
    answers_file.write_text(text, encoding="utf-8")
    commit(near.path)
    return near


@LAPTOP
def test_a_room_without_a_network(walked: Walk, template: Template, tmp_path: Path) -> None:
    """A stick is filled, and used where nothing can be reached, as the instructor's page says."""
    near = made_far_away(walked, template, tmp_path)
    page = near.path / "workshop/instructor/without-wifi.md"
    fill, use = (match["commands"] for match in BLOCK.finditer(page.read_text("utf-8")))
    places = {"PROJECT": str(near.path), "ROOM": str(tmp_path / "stick")}

    def typed(text: str) -> None:
        done = subprocess.run(
            ["bash", "-euxc", text],
            cwd=tmp_path,
            env=machine() | places,
            check=False,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    typed(fill)
    for gone in ("far.git", "near", "room"):
        (tmp_path / gone).rename(tmp_path / f"{gone}-elsewhere")
    typed(f"{use}\nmake step NAME=join\nmake run")
    project = Generated(tmp_path / "workshop-project")
    assert (project.path / "steps/join/Dockerfile").exists()
    assert project.last_run["state"] == "succeeded"


@LAPTOP
def test_a_template_that_is_far(walked: Walk, template: Template, tmp_path: Path) -> None:
    """Fetched once, it is not asked for again where somebody says that there is no network."""
    near = made_far_away(walked, template, tmp_path)
    caches: dict[str, str | None] = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    near.make("setup").succeeded()
    near.make("workshop-setup", **caches).succeeded()
    (tmp_path / "far.git").rename(tmp_path / "gone.git")
    near.make("step", "NAME=join", **caches).failed("cannot be reached")
    near.make("step", "NAME=join", **caches, UV_OFFLINE="1").succeeded()
    assert (near.path / "steps/join/Dockerfile").exists()


@LAPTOP
def test_who_is_where(walked: Walk) -> None:
    """A check tells the board, which shows names as text, and refuses what is no place."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with started(walked, "workshop-board", f"PORT={port}", stdout=subprocess.PIPE) as board:
        assert board.stdout
        assert "The board is at" in board.stdout.readline()
        walked.make(f"workshop-board PORT={port}").failed(f"port {port}", "PORT= takes another")
        git(walked.project.path, "config", "user.name", "<b>Ada</b>")
        walked.make("workshop-check LAB=11", WORKSHOP_BOARD=url)
        page = urllib.request.urlopen(url, timeout=10).read().decode()
        assert "&lt;b&gt;Ada&lt;/b&gt;" in page
        assert "<b>Ada" not in page
        for nonsense in (b"{}", b"x" * 5000, b'{"name": "", "done": [], "at": 1, "hints": 0}'):
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(url, nonsense, timeout=10)
        assert urllib.request.urlopen(url, timeout=10).read().decode().count("<tr>") == 2
    for nowhere in (url, "http://127.0.0.1:ducks"):
        said = walked.make("workshop-check LAB=11", WORKSHOP_BOARD=nowhere)
        assert "was not told" in said.err
        assert "Traceback" not in said.err


@pytest.mark.engine
@LAPTOP
def test_in_containers(walked: Walk) -> None:
    """Lab 10, as the project was at first: other tests have built those images."""
    engine.require()
    path = walked.project.path
    git(path, "switch", "--quiet", "--detach", "--discard-changes", at_first(walked))
    (path / "artifacts/models/champion.json").unlink(missing_ok=True)
    walked.make("workshop LAB=10").succeeded()
    assert "no run that succeeded was in containers" in walked.check(10).out
    walked.make("images").succeeded()
    walked.make("run RUNNER=docker").succeeded()
    walked.make("run").succeeded()
    walked.check(10).succeeded()
    assert walked.make("images CHECK=1").code == 0
    assert walked.typed >= IN_CONTAINERS
