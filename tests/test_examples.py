"""Published examples, a candidate that is tried on them, and what would be applied on kind."""

import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from apiserver import kubectl
from conftest import ROOT, commit, git

from scripts import candidate, examples, ledger, on_kind
from scripts.repository import surroundings
from scripts.screen import Refused

WORKFLOWS = ROOT / ".github/workflows"
NEWEST = ledger.read(ROOT)[-1].version
SOURCE = "https://github.com/team/template.git"


def script(workflow: str, job: str, name: str) -> str:
    """Return what a step of a workflow runs."""
    steps = yaml.safe_load((WORKFLOWS / workflow).read_text("utf-8"))["jobs"][job]["steps"]
    (found,) = [step["run"] for step in steps if name in (step.get("name"), step.get("id"))]
    return str(found)


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a step's script as GitHub does."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
        cwd=folder,
        env={**surroundings(), **environment},
        check=True,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generate the examples of the newest release."""
    folder = tmp_path_factory.mktemp("examples") / "examples"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITHUB_REPOSITORY", "team/template")
        patch.delenv("GITHUB_SERVER_URL", raising=False)
        examples.examples(str(folder), "", names=False)
    return folder


def test_examples(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each flavour that the release has, and where its template is published."""
    examples.examples("", NEWEST, names=True)
    names = json.loads(capsys.readouterr().out)
    assert {"laptop", "batch-only"} <= {*names}
    assert {path.name for path in published.iterdir()} == {*names, "README.md"}
    for name in names:
        answers = yaml.safe_load((published / name / ".copier-answers.yml").read_text("utf-8"))
        assert (answers["_src_path"], answers["_commit"]) == (SOURCE, NEWEST)
        assert f"[{name}]({name}/)" in (published / "README.md").read_text("utf-8")
    assert not [path for path in published.rglob("*") if path.suffix == ".rej"]
    with pytest.raises(Refused, match=r"no release 7\.0\.0"):
        examples.examples("", "7.0.0", names=False)


def test_they_are_published(published: Path, tmp_path: Path) -> None:
    """On a branch with a history of its own: added, changed, removed, and unchanged."""
    server, clone = tmp_path / "server.git", tmp_path / "clone"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(server))
    git(tmp_path, "clone", "--quiet", str(server), str(clone))
    git(clone, "switch", "--quiet", "-c", "main")
    (clone / "template.txt").write_text("The template.\n", encoding="utf-8")
    (clone / ".gitignore").write_text("*.json\n", encoding="utf-8")
    commit(clone, "Start")
    git(clone, "push", "--quiet", "origin", "main")
    content = tmp_path / "content"
    (content / "laptop").mkdir(parents=True)
    (content / "README.md").write_text("# What release 1.0.0 generates\n", encoding="utf-8")
    for name in (".copier-answers.yml", "a.json"):
        (content / "laptop" / name).write_text("1\n", encoding="utf-8")
    publish = script(
        "examples.yml", "publish", "Commit to the branch, which has a history of its own"
    )

    def published_now() -> tuple[str, list[str], list[str]]:
        archive = tmp_path / "examples.tar.gz"
        with tarfile.open(archive, "w:gz") as file:
            file.add(content, arcname=".")
        git(tmp_path, "clone", "--quiet", str(server), str(tmp_path / "job"))
        known = {"ARCHIVE": str(archive), "AUTHOR": "bot", "EMAIL": "bot@example.com"}
        done = shell(publish, tmp_path / "job", **known)
        subprocess.run(["rm", "-r", str(tmp_path / "job")], check=True)
        files = git(server, "ls-tree", "-r", "--name-only", "examples").split()
        return done.stdout, files, git(server, "log", "--format=%s", "examples").splitlines()

    _, files, log = published_now()
    assert files == ["README.md", "laptop/.copier-answers.yml", "laptop/a.json"]
    assert log == ["What release 1.0.0 generates"]
    said, _, log = published_now()
    assert "as they were" in said
    assert len(log) == 1
    (content / "laptop").rename(content / "other")
    _, files, log = published_now()
    assert files == ["README.md", "other/.copier-answers.yml", "other/a.json"]
    assert len(log) == 2
    assert git(server, "log", "--format=%s", "main") == "Start\n"

    output = tmp_path / "output"
    git(tmp_path, "clone", "--quiet", "--branch=examples", str(server), str(tmp_path / "list"))
    shell(script("candidate.yml", "flavours", "list"), tmp_path / "list", GITHUB_OUTPUT=str(output))
    assert output.read_text("utf-8") == 'names=["other"]\n'


def test_a_candidate(published: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """This checkout is one that the examples can be updated to; verbs run then."""
    candidate.candidate("laptop", str(published), "help")
    said = capfd.readouterr().out
    assert f"from {NEWEST} to" in said
    assert "make help succeeds" in said
    with pytest.raises(Refused, match="EXAMPLES is a checkout"):
        candidate.candidate("ducks", str(published), "help")
    with pytest.raises(Refused, match="choose from batch-only"):
        candidate.candidate("ducks", "", "help")
    with pytest.raises(Refused, match="make nowhere fails"):
        candidate.candidate("laptop", str(published), "nowhere")


DOUBLE = """#!/usr/bin/env python3
import json, os, sys
arguments = sys.argv[1:]
if arguments[0] == "kustomize":
    os.execv({kubectl!r}, [{kubectl!r}, *arguments])
given = sys.stdin.read() if "--filename=-" in arguments else ""
with open({notes!r}, "a") as file:
    print(json.dumps([arguments, given]), file=file)
if arguments == ["config", "current-context"]:
    print({context!r})
"""


def play(folder: Path, context: str, patch: pytest.MonkeyPatch) -> Path:
    """Put a kubectl on the PATH that notes what it is told, and return its notes."""
    folder.mkdir(exist_ok=True)
    notes = folder / "notes"
    text = DOUBLE.format(kubectl=kubectl(), notes=str(notes), context=context)
    (folder / "kubectl").write_text(text, encoding="utf-8")
    (folder / "kubectl").chmod(0o755)
    patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return notes


def test_on_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The components of the versions that the tests judge by, then every overlay; there alone."""
    play(tmp_path / "other", "gke_team_prod", monkeypatch)
    with pytest.raises(Refused, match="gke_team_prod: this is for one that kind makes"):
        on_kind.on_kind("laptop")
    notes = play(tmp_path / "kind", "kind-kind", monkeypatch)
    on_kind.on_kind("laptop")
    told = [json.loads(line) for line in notes.read_text("utf-8").splitlines()]
    installed = " ".join(word for arguments, _ in told for word in arguments)
    judged = (WORKFLOWS / "ci.yml").read_text("utf-8")
    for version in (f"pipelines/{on_kind.KFP}/", f"{on_kind.KSERVE}/", f"{on_kind.TRAINER}/"):
        assert version in judged
        assert version.strip("/").rpartition("/")[2] in installed
    applied: dict[str, set[str]] = {}
    for arguments, given in told:
        namespace = next((each for each in arguments if each.startswith("--namespace=")), "")
        if given and namespace:
            objects: list[Any] = list(yaml.safe_load_all(given))
            applied[namespace.partition("=")[2]] = {each["kind"] for each in objects}
    assert {*applied} == {"kubeflow", "models-dev", "models-staging", "models-prod"}
    assert "Role" in applied["kubeflow"]
    assert all("InferenceService" in applied[f"models-{env}"] for env in ("dev", "staging", "prod"))
    waited = [arguments for arguments, _ in told if "--for=create" in arguments]
    assert len(waited) == 3
