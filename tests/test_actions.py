"""What GitHub runs: found good by linters, and a pull request really run, to green and to red."""

import json
import os
import re
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engine
import pytest
import yaml
from conftest import Template, commit, git
from copier import VcsRef
from engine import docker, missing
from projects import Generated, flavour, life, machine, restored
from pytest_copie.plugin import Copie

from scripts.render import answers, names

STAND_INS = Path(__file__).parent / "actions"
LAPTOP = pytest.mark.parametrize("project", [flavour("laptop")], indirect=True)
ENTRIES = ("ci.yml", "project.yml")
USES = re.compile(r"uses: +(?P<name>[^@\s]+)@(?P<commit>\S+)(?P<comment>.*)")
LOCAL = re.compile(r"uses: +\./(?P<path>\S+)")
# What a pull request of a project runs: called by ci.yml.
CHECKS = {"Check", "Test", "Golden pipelines", "Run", "Images", "Image", "Terraform", "Hooks"}
TIMEOUT = 900


def workflows(project: Path) -> dict[str, dict[Any, Any]]:
    """Read a project's workflows; YAML takes `on` for a truth."""
    paths = sorted(project.glob(".github/workflows/*.yml"))
    return {path.name: yaml.safe_load(path.read_text("utf-8")) for path in paths}


def files(project: Path) -> list[Path]:
    """List what names an action: workflows, and the project's own actions."""
    return sorted(project.glob(".github/**/*.yml"))


@pytest.fixture
def of_flavour(request: pytest.FixtureRequest, template: Template, tmp_path: Path) -> Path:
    """Render a flavour."""
    return template.render(tmp_path / "project", **answers(request.param))


@pytest.mark.parametrize("of_flavour", names(), indirect=True)
def test_linters_find_nothing(of_flavour: Path) -> None:
    """By actionlint, by shellcheck in the scripts, and by zizmor where it is pedantic."""
    there = workflows(of_flavour)
    assert set(ENTRIES) < set(there)
    git(of_flavour, "init", "--quiet")
    for command in (
        ["actionlint", "-no-color", *map(str, of_flavour.glob(".github/workflows/*.yml"))],
        [
            "zizmor",
            "--offline",
            "--persona=pedantic",
            "--no-progress",
            f"--config={STAND_INS / 'zizmor.yml'}",
            str(of_flavour / ".github"),
        ],
    ):
        done = subprocess.run(command, cwd=of_flavour, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_rights_and_limits(default_project: Path) -> None:
    """A workflow may do nothing, a job the least; each has an end, and a label to choose."""
    for name, workflow in workflows(default_project).items():
        assert workflow["permissions"] == {}, name
        # Releases wait in _deliver.yml: those of one environment, for no other's reviewers.
        alone = "workflow_call" in workflow[True] or name == "release.yml"
        assert alone or "group" in workflow["concurrency"], name
        for key, job in workflow["jobs"].items():
            if "uses" in job:
                continue
            assert job["timeout-minutes"] <= 180, f"{name}: {key}"
            assert job["runs-on"] == "${{ vars.RUNNER || 'ubuntu-latest' }}", f"{name}: {key}"
            for step in job["steps"]:
                if step.get("uses", "").startswith("actions/checkout@"):
                    assert job["permissions"]["contents"] in ("read", "write"), f"{name}: {key}"


def test_actions_are_pinned(default_project: Path) -> None:
    """By a commit, with the version beside it, and the same everywhere; a local one is there."""
    pins: defaultdict[str, set[str]] = defaultdict(set)
    for path in files(default_project):
        text = path.read_text("utf-8")
        for found in USES.finditer(text):
            assert re.fullmatch(r"[0-9a-f]{40}", found["commit"]), found[0]
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", found["comment"]), found[0]
            pins["/".join(found["name"].split("/")[:2])].add(found["commit"])
        for found in LOCAL.finditer(text):
            place = default_project / found["path"]
            assert place.is_file() or (place / "action.yml").is_file(), found[0]
        uses = len(re.findall(r"\buses:", text))
        assert uses == len(USES.findall(text)) + len(LOCAL.findall(text)), path
    assert pins
    assert all(len(commits) == 1 for commits in pins.values()), pins


def test_required_check(default_project: Path, tmp_path: Path) -> None:
    """It is red when anything failed or was stopped, and green when something was left out."""
    jobs = workflows(default_project)["ci.yml"]["jobs"]
    job = jobs["required-checks-passed"]
    assert set(job["needs"]) == set(jobs) - {"required-checks-passed"}
    assert job["if"] == "always()"
    (step,) = job["steps"]
    for results, code in (
        ("success success success", 0),
        ("success skipped success", 0),
        ("success failure success", 1),
        ("cancelled success skipped", 1),
    ):
        done = subprocess.run(
            ["bash", "-ec", step["run"]],
            env={**os.environ, "RESULTS": results},
            check=False,
            capture_output=True,
        )
        assert done.returncode == code, results


def test_an_answer_brings_it(draft: Template, tmp_path: Path) -> None:
    """A project without GitHub has none of it; switched off, what is the team's stays."""
    project = draft.project(tmp_path / "project", with_github_actions=False)
    assert not (project.path / ".github").exists()
    assert not (project.path / "docs/ci.md").exists()
    on = project.update(VcsRef.CURRENT, with_github_actions=True)
    assert {f"?? .github/workflows/{name}" for name in ENTRIES} <= set(on)
    assert "?? .github/workflows/_pull-request.yml" in on
    commit(project.path, "On")
    project.append(".github/workflows/ci.yml", "# Ours")
    git(project.path, "rm", "--quiet", ".github/CODEOWNERS")
    commit(project.path, "The team's work")
    assert project.update(VcsRef.CURRENT) == []
    off = project.update(VcsRef.CURRENT, with_github_actions=False)
    assert " D .github/workflows/_pull-request.yml" in off
    assert project.read(".github/workflows/ci.yml").endswith("# Ours\n")


def test_what_is_replaced_is_told(default_project: Path) -> None:
    """The page lists what act runs in the place of others' actions; those take the same inputs."""
    page = (default_project / "docs/ci.md").read_text("utf-8")
    replaced = {path.parent.name: path for path in STAND_INS.glob("*/action.yml")}
    assert replaced
    used: defaultdict[str, set[str]] = defaultdict(set)
    for path in files(default_project):
        content = yaml.safe_load(path.read_text("utf-8"))
        jobs = [content["runs"]] if "runs" in content else content.get("jobs", {}).values()
        for step in (step for job in jobs for step in job.get("steps", [])):
            used[Path(step.get("uses", "").partition("@")[0]).name] |= {*step.get("with", {})}
    for name, path in replaced.items():
        assert f"`actions/{name}`" in page, name
        inputs = yaml.safe_load(path.read_text("utf-8"))["inputs"]
        assert used[name], name
        assert used[name] <= set(inputs), name


# --- A pull request, by act -----------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What came of a pull request's jobs, by their names."""

    code: int
    results: dict[str, str]
    said: dict[str, str]
    artifacts: Path

    @classmethod
    def of(cls, done: "subprocess.CompletedProcess[str]", artifacts: Path) -> "Outcome":
        """Read what act writes: a line of JSON for each line that a job writes."""
        results: dict[str, str] = {}
        said: defaultdict[str, list[str]] = defaultdict(list)
        for line in done.stdout.splitlines():
            if not line.startswith("{"):
                continue
            told = json.loads(line)
            job = told.get("job", "").rpartition("/")[2].strip()
            if "jobResult" in told:
                results[job] = told["jobResult"]
            said[job].append(told.get("msg", "").rstrip("\n"))
        assert results, done.stdout + done.stderr
        texts = {job: "\n".join(lines) for job, lines in said.items()}
        return cls(done.returncode, results, texts, artifacts)

    def failed(self) -> set[str]:
        """List the jobs that are red."""
        return {job for job, result in self.results.items() if result != "success"}


def pull_request(project: Generated, folder: Path) -> Generated:
    """Merge what is changed in a project into what it was, as GitHub does to try it."""
    git(project.path, "switch", "--quiet", "--create", "change")
    commit(project.path, "A change")
    git(folder, "clone", "--quiet", str(project.path), "merged")
    merged = folder / "merged"
    git(merged, "switch", "--quiet", "--create", "merge", "HEAD~1")
    git(merged, "merge", "--quiet", "--no-ff", "--message", "Merge", "origin/change")
    git(project.path, "switch", "--quiet", "-")
    git(project.path, "branch", "--quiet", "-D", "change")
    return Generated(merged)


def run(project: Generated, folder: Path) -> Outcome:
    """Run what a pull request starts, every job on this machine itself."""
    engine.require()
    act = shutil.which("act")
    if not act:
        missing("act is not installed: it comes with make's environment")
    replaced = {
        f"{found['name']}@{found['commit']}": STAND_INS / Path(found["name"]).name
        for path in files(project.path)
        for found in USES.finditer(path.read_text("utf-8"))
        if (STAND_INS / Path(found["name"]).name).is_dir()
    }
    event = {"pull_request": {"number": 1, "head": {"repo": {"fork": False}}}}
    (folder / "event.json").write_text(json.dumps(event), encoding="utf-8")
    artifacts = folder / "artifacts"
    options = [f"--local-repository={name}={place}" for name, place in replaced.items()]
    done = subprocess.run(
        [
            str(act),
            "pull_request",
            "--json",
            "--platform=ubuntu-latest=-self-hosted",
            "--pull=false",
            "--action-offline-mode",
            "--no-cache-server",
            f"--eventpath={folder / 'event.json'}",
            f"--action-cache-path={folder / 'act'}",
            f"--env=ARTIFACTS={artifacts}",
            *options,
        ],
        cwd=project.path,
        env={**machine(), "NO_COLOR": "1", "TERM": "dumb"},
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    return Outcome.of(done, artifacts)


@pytest.fixture
def project(
    request: pytest.FixtureRequest, template: Template, copie_session: Copie
) -> Iterator[Generated]:
    """Give the project of a flavour, and take back what a test commits."""
    with restored(life(request.param, template, copie_session).project) as made:
        yield made


def fresh(step: str, project: Generated) -> None:
    """Change the code of a step as nobody has before, so that no engine has its image."""
    path = project.path / f"steps/{step}/component.py"
    path.write_text(f"# {time.time_ns()}\n{path.read_text('utf-8')}", encoding="utf-8")


@pytest.mark.actions
@LAPTOP
def test_green(project: Generated, tmp_path: Path) -> None:
    """A change of a step: every check passes, its image is built, and the report is there."""
    fresh("register", project)
    merged = pull_request(project, tmp_path)
    outcome = run(merged, tmp_path)
    said = "\n".join(outcome.said[job] for job in sorted(outcome.failed()))
    assert (outcome.failed(), outcome.code) == (set(), 0), said
    assert set(outcome.results) == {*CHECKS, "required-checks-passed"}
    assert 'missing=["register"]' in outcome.said["Images"]
    (tag,) = re.findall(r"^register +([0-9a-f]{16}) +built", outcome.said["Image"], re.MULTILINE)
    docker("image", "rm", f"my-model-register:{tag}")
    (page,) = outcome.artifacts.glob("run/*/report.html")
    assert "<html" in page.read_text("utf-8")
    assert re.search(r"^\| roc_auc \| 0\.99\d+ \| 0\.99\d+ \|", outcome.said["Run"], re.MULTILINE)


# What each job says that is red, and whoever made it so has to know.
REASONS = {
    "Test": ("test_broken", "assert (1 + 1) == 3"),
    "Golden pipelines": ("+            name: worth-it", "`make golden` accepts what is above"),
    "Run": ("roc_auc is worse by 4.8%", "Accept-metrics: because"),
    "Image": ("register failed: the base image no-such-base:1 cannot be had",),
}


@pytest.mark.actions
@LAPTOP
def test_red(project: Generated, tmp_path: Path) -> None:
    """A broken test, a metric that falls, a stale golden pipeline, an image: each is told."""
    broken = "\n\ndef test_broken() -> None:\n    assert 1 + 1 == 3\n"
    with (project.path / "tests/unit/test_features.py").open("a", encoding="utf-8") as file:
        file.write(broken)
    project.edit("config/project.yaml", "regularisation: 1.0", "regularisation: 0.00001")
    bases = 'images:\n  base_images: {register: "no-such-base:1"}\n'
    project.edit("config/project.yaml", "images:\n", bases)
    project.edit("pipelines/training.py", '"worth-registering"', '"worth-it"')
    outcome = run(pull_request(project, tmp_path), tmp_path)
    assert outcome.code != 0
    assert outcome.failed() == set(REASONS)
    assert set(outcome.results) >= CHECKS
    for job, words in REASONS.items():
        for word in words:
            assert word in outcome.said[job], f"{job}: {word!r} is not in\n{outcome.said[job]}"
    assert "✗ roc_auc is worse" in outcome.said["Run"].partition("Summary - ")[2]


@pytest.mark.project
@pytest.mark.engine
@LAPTOP
def test_the_images_of_a_change(project: Generated, tmp_path: Path) -> None:
    """Of one step's code: that step's. Of the schema: theirs that import it, and no others."""
    engine.require()
    for path, affected in {
        "steps/validate/component.py": {"validate"},
        f"{project.package.relative_to(project.path)}/schema.py": importers(project, "schema.py"),
        "docs/decisions/README.md": set(),
    }.items():
        file = project.path / path
        file.write_text(f"{file.read_text('utf-8')}\n# {time.time_ns()}\n", encoding="utf-8")
        commit(project.path, "A change")
        assert matrix(project, tmp_path) == affected, path


def importers(project: Generated, module: str) -> set[str]:
    """List the images that a module of the package is in."""
    code = f"""
import json
from tools import images
held = {{name: images.context(name) for name in images.names()}}
found = [name for name in held if any(path.endswith({module!r}) for path in held[name])]
print(json.dumps([found, list(held)]))
"""
    environment = {"PATH": f"{project.path / '.venv/bin'}:{machine()['PATH']}"}
    found, every = json.loads(project.python(code, **environment).succeeded().out)
    assert 1 < len(found) < len(every)
    return set(found)


def matrix(project: Generated, folder: Path) -> set[str]:
    """Return the images that the workflow would build for the last commit, by its own script."""
    jobs = workflows(project.path)["_pull-request.yml"]["jobs"]
    (look,) = (step for step in jobs["images"]["steps"] if step.get("id") == "look")
    output = folder / "output"
    output.write_text("", encoding="utf-8")
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", look["run"]],
        cwd=project.path,
        env={**machine(), "BASE": "HEAD^1", "GITHUB_OUTPUT": str(output)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(output.read_text("utf-8").removeprefix("missing=")))
