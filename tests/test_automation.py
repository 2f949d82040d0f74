"""From a merged pull request to a running model: the verbs that GitHub's workflows call.

What is only at GitHub or in a cloud is played: `gh`, `cosign`, `trivy`, `aws` and `gcloud` note
what they are told. git, the registry and the engine are real. Verbs that have kin are tested there:
`make propose-release` in test_releases.py, `deliver` in test_deploy.py, `propose-update` in
test_make_update.py.
"""

import json
import os
import re
import subprocess
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import engine
import kubernetes_validate
import pytest
import yaml
from apiserver import kustomized
from conftest import ROOT, Template, commit, git
from projects import Generated, flavour, life, machine, restored
from pytest_copie.plugin import Copie
from test_images import images, in_state, push_to
from test_overlays import release

from scripts.render import answers, online

LAPTOP = flavour("laptop")
GITHUB = ROOT / "template/.github"
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text("utf-8"))
    for path in sorted((GITHUB / "workflows").glob("*.yml"))
}
WRITER = "_propose"
MAY_WRITE = ("contents", "pull-requests", "issues", "actions", "workflows")
NOTES = """#!/usr/bin/env python3
import json, os, sys
with open({notes!r}, "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
{code}
"""


@dataclass(frozen=True)
class Played:
    """A program on the PATH that notes what it is told, and answers as a test says."""

    folder: Path
    name: str

    def plays(self, code: str) -> "Played":
        """Say what it does, in Python."""
        self.folder.mkdir(exist_ok=True)
        program = self.folder / self.name
        program.write_text(NOTES.format(notes=str(self._notes), code=code), encoding="utf-8")
        program.chmod(0o755)
        return self

    @property
    def told(self) -> list[list[str]]:
        """Return the arguments of each call, and forget them."""
        if not self._notes.exists():
            return []
        lines = self._notes.read_text("utf-8").splitlines()
        self._notes.unlink()
        return [json.loads(line) for line in lines]

    @property
    def path(self) -> str:
        """Return a PATH on which it is the first."""
        return f"{self.folder}{os.pathsep}{machine()['PATH']}"

    @property
    def _notes(self) -> Path:
        return self.folder / f"{self.name}.notes"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Give a folder for programs that are played."""
    return tmp_path / "programs"


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give every job of a generated project: its workflow, its name, and what it is."""
    for workflow, content in WORKFLOWS.items():
        for name, job in content["jobs"].items():
            yield workflow, name, job


def runs(job: Mapping[str, Any]) -> str:
    """Return all that a job runs in a shell."""
    return "\n".join(step.get("run", "") for step in job.get("steps", []))


def test_what_may_write_runs_nothing_of_the_project() -> None:
    """One job may: it calls git and gh, and actions that are not in the repository."""
    writing = [
        (workflow, name)
        for workflow, name, job in jobs()
        if "steps" in job and "write" in {job.get("permissions", {}).get(key) for key in MAY_WRITE}
    ]
    assert writing == [(WRITER, "propose")]
    (job,) = WORKFLOWS[WRITER]["jobs"].values()
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", name) for name in used)
    # The first word of each command, and of those in $( ).
    script = runs(job).replace("\\\n", " ")
    assert not re.search(r"\b(make|python3?|uv|bash|sh|source|eval|checkout|merge)\b", script)
    words = set(re.findall(r"(?:^|[|(;!]|\bif |\bthen )\s*(git|gh|[a-z_]+)\b(?!=)", script, re.M))
    assert {"git", "gh"} < words


def test_what_runs_the_project_has_no_secret() -> None:
    """Of GitHub it has a token that reads; of the cloud what it is let in for, for some hours.

    What brings the template's code may have a token that reads that code.
    """
    may_read = {("_template-update", "prepare"): "secrets.template_token"}
    found = 0
    for workflow, name, job in jobs():
        if "make " not in runs(job):
            continue
        found += 1
        secrets = set(re.findall(r"secrets\.\w+", json.dumps(job)))
        assert secrets <= {may_read.get((workflow, name))}, (workflow, name)
        for right, value in job.get("permissions", {}).items():
            assert value == "read" or right in ("id-token", "packages"), (workflow, name, right)
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, (workflow, name)
    assert found > 5


def test_a_login_outlasts_its_job() -> None:
    """On AWS the role gives what is asked for, and it is longer than any job that logs in.

    What lasts an hour whatever one does, a password of Google's registry, is fetched again once a
    run on the cluster is over.
    """
    action = yaml.safe_load((GITHUB / "actions/login/action.yml").read_text("utf-8"))
    used = [step for step in action["runs"]["steps"] if "configure-aws" in step.get("uses", "")]
    first, second = (step["with"].get("role-duration-seconds") for step in used)
    role = (ROOT / "template/infra/modules/eks/ci.tf").read_text("utf-8")
    assert re.findall(r"max_session_duration = (\d+)", role) == [str(first)]
    # What every role gives, for one that has not been changed yet.
    assert second == 3600
    logins = 0
    for workflow, name, job in jobs():
        steps = job.get("steps", [])
        known = [step.get("uses") == "./.github/actions/login" for step in steps]
        if True not in known:
            continue
        logins += 1
        assert job["timeout-minutes"] * 60 < first, (workflow, name)
        for at, step in enumerate(steps):
            if "RUNNER=cluster" in step.get("run", ""):
                assert known[at + 1], (workflow, name)
    assert logins > 3


@pytest.mark.parametrize(("token", "user"), [("a-token", "x-access-token:a-token@"), ("", "")])
def test_a_template_that_is_private(token: str, user: str, tmp_path: Path) -> None:
    """Where there is a token, git uses it for GitHub; without, for nobody."""
    job = WORKFLOWS["_template-update"]["jobs"]["prepare"]
    (given,) = (step["env"] for step in job["steps"] if "GIT_CONFIG_COUNT" in step.get("env", {}))
    count = {True: "3", False: "2"}[bool(token)]
    assert given["GIT_CONFIG_COUNT"] == "${{ secrets.template_token && '3' || '2' }}"
    settings = WORKFLOWS["_template-update"]["env"] | given | {"GIT_CONFIG_COUNT": count}
    variables = {
        name: str(value).replace("${{ secrets.template_token }}", token)
        for name, value in settings.items()
    }
    for host, expected in {"github.com": f"{user}github.com", "example.org": "example.org"}.items():
        asked = ["git", "ls-remote", "--get-url", f"https://{host}/company/template.git"]
        got = subprocess.check_output(asked, cwd=tmp_path, env=os.environ | variables, text=True)
        assert got.strip() == f"https://{expected}/company/template.git"


def test_every_verb_is_one_of_the_project(default_project: Path) -> None:
    """A job calls verbs that are there."""
    files = [default_project / "Makefile", *(ROOT / "template").rglob("*.mk")]
    listed = "\n".join(file.read_text("utf-8") for file in files)
    known = {name for line in re.findall(r"^([a-z -]+):", listed, re.M) for name in line.split()}
    actions = "\n".join(path.read_text("utf-8") for path in GITHUB.rglob("action.yml"))
    called = re.findall(r"\bmake ([a-z-]+)", "\n".join([actions, *(runs(j) for *_, j in jobs())]))
    assert {"images", "deliver", "propose-update", "propose-release", "scan"} <= {*called}
    assert {*called} <= known


def test_renovate_leaves_the_platforms_files_alone(default_project: Path) -> None:
    """What it could raise, and an update would bring back, it does not look at."""
    from pathspec import GitIgnoreSpec
    from test_ownership import ROWS, matcher

    settings = json.loads((default_project / "renovate.json").read_text("utf-8"))
    ignored = GitIgnoreSpec.from_lines(settings["ignorePaths"])
    managed = [matcher(row) for row in ROWS if row["class"] == "managed"]
    seen = 0
    for path in default_project.rglob("*"):
        name = path.relative_to(default_project).as_posix()
        if re.search(
            r"(Dockerfile|pyproject\.toml|\.tf|kustomization\.yaml|\.github/.*yml)$", name
        ):
            platforms = any(spec.match_file(name) for spec in managed)
            assert ignored.match_file(name) or not platforms, name
            seen += platforms
    assert seen > 10
    assert not ignored.match_file("steps/train/pyproject.toml")
    assert not ignored.match_file(".github/workflows/ci.yml")


@pytest.mark.parametrize("flavour_name", online())
def test_what_it_may_do_on_a_cluster(flavour_name: str, template: Template, tmp_path: Path) -> None:
    """Apply what the overlays have, and nothing that would let it take more."""
    project = template.render(tmp_path / "project", **answers(flavour_name))
    roles = {}
    for place in ("runs", "serving"):
        (role,) = kustomized(project / "platform/delivery" / place)
        kubernetes_validate.validate(role, kubernetes_validate.latest_version(), strict=True)
        roles[place] = role["rules"]
    allowed = {
        (group, resource)
        for rule in roles["serving"]
        if {"get", "create", "patch"} <= {*rule["verbs"]}
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    for env in ("dev", "staging", "prod"):
        release(project, env)
        for each in kustomized(project / "serving/deploy/overlays" / env):
            group = each["apiVersion"].rpartition("/")[0]
            plural = re.sub("y$", "ie", each["kind"].lower()) + "s"
            assert (group, plural) in allowed, each["kind"]
    everything = json.dumps(roles)
    for word in ('"*"', "secrets", "rbac", "escalate"):
        assert word not in everything
    assert "delete" not in json.dumps(roles["serving"])


@dataclass(frozen=True)
class Writing:
    """The job that opens pull requests, between a repository on a server and gh."""

    server: Path
    clone: Path
    proposal: Path
    gh: Played

    def propose(self, name: str, title: str = "A title", *, draft: bool = False) -> str:
        """Leave a proposal as tools/proposal.py does, and return its commit."""
        other = self.clone.parent / "other"
        git(self.clone.parent, "clone", "--quiet", str(self.server), str(other))
        (other / "new.txt").write_text(f"{name}\n", encoding="utf-8")
        commit(other, "A change")
        git(other, "update-ref", "refs/proposal", "HEAD")
        self.proposal.mkdir(exist_ok=True)
        bundle = str(self.proposal / "commits.bundle")
        git(other, "bundle", "create", "--quiet", bundle, "origin/main..refs/proposal")
        made = git(other, "rev-parse", "HEAD").strip()
        subprocess.run(["rm", "-r", str(other)], check=True)
        for file, text in (("name", name), ("title", title), ("body.md", "What, and why.")):
            (self.proposal / file).write_text(f"{text}\n", encoding="utf-8")
        (self.proposal / "draft").unlink(missing_ok=True)
        if draft:
            (self.proposal / "draft").touch()
        return made

    def run(self, kind: str = "template") -> subprocess.CompletedProcess[str]:
        """Run the job's script as GitHub does."""
        (job,) = WORKFLOWS[WRITER]["jobs"].values()
        (step,) = [step for step in job["steps"] if "run" in step]
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.clone,
            env={
                **machine(),
                "PATH": self.gh.path,
                "BASE": "main",
                "FOLDER": str(self.proposal),
                "GH_REPO": "team/my-model",
                "GH_TOKEN": "none",
                "GITHUB_STEP_SUMMARY": str(self.proposal.parent / "summary"),
                "KIND": kind,
            },
            check=False,
            capture_output=True,
            text=True,
        )

    @property
    def branches(self) -> dict[str, str]:
        """Return the branches on the server, with their commits."""
        form = "--format=%(refname:short) %(objectname)"
        lines = git(self.server, "for-each-ref", form, "refs/heads").splitlines()
        return dict(line.split() for line in lines)


# What is open, and what is there of a branch, comes from the test.
GH = """
known, forks = {known!r}, {forks!r}
arguments = sys.argv[1:]
if arguments[:2] == ["pr", "list"] and "--head" in arguments:
    # It looks at the branch's name alone, whosever branch it is.
    branch = arguments[arguments.index("--head") + 1]
    ours_only = "select(.isCrossRepository | not)" in arguments[-1]
    print(int(branch in known) + int(branch in forks and not ours_only))
elif arguments[:2] == ["pr", "list"]:
    for branch, number in known.items():
        print(number, branch)
elif arguments[:2] == ["pr", "create"]:
    if "--draft" in arguments and {no_drafts!r}:
        sys.exit("drafts are not for this plan")
    print("https://github.invalid/team/my-model/pull/7")
"""


@pytest.fixture
def writing(tmp_path: Path, programs: Path) -> Writing:
    """Give a repository on a server, its clone in a job, and a gh."""
    server, clone = tmp_path / "server.git", tmp_path / "clone"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(server))
    git(tmp_path, "clone", "--quiet", str(server), str(clone))
    git(clone, "switch", "--quiet", "-c", "main")
    commit(clone, "Start")
    git(clone, "push", "--quiet", "origin", "main")
    gh = Played(programs, "gh").plays(GH.format(known={}, forks=[], no_drafts=False))
    return Writing(server, clone, tmp_path / "proposal", gh)


def test_a_pull_request(writing: Writing) -> None:
    """The commits are pushed as they are, the text is given, and what is checked out stays."""
    made = writing.propose("1.2.0", 'Update "$(id)" `id` to 1.2.0')
    done = writing.run()
    assert done.returncode == 0, done.stderr
    assert writing.branches["automation/template-1.2.0"] == made
    created = [told for told in writing.gh.told if told[:2] == ["pr", "create"]]
    assert created == [
        [
            *("pr", "create", "--head", "automation/template-1.2.0", "--base", "main"),
            *("--title", 'Update "$(id)" `id` to 1.2.0'),
            *("--body-file", str(writing.proposal / "body.md")),
        ]
    ]
    assert not (writing.clone / "new.txt").exists()
    assert "pull/7" in (writing.proposal.parent / "summary").read_text("utf-8")


def test_older_ones_are_closed(writing: Writing) -> None:
    """Of its kind alone; one that was proposed before is left as it is, open or closed."""
    others = {
        "automation/template-1.1.0": 3,
        "automation/fixes-1.1.0": 4,
        "my-own-branch": 5,
    }
    writing.gh.plays(GH.format(known=others, forks=[], no_drafts=False))
    writing.propose("1.2.0")
    assert writing.run().returncode == 0
    closed = [told for told in writing.gh.told if told[:2] == ["pr", "close"]]
    url = "https://github.invalid/team/my-model/pull/7"
    assert closed == [["pr", "close", "3", "--comment", f"Superseded by {url}"]]
    before = writing.branches
    writing.propose("1.1.0")
    done = writing.run()
    assert done.returncode == 0
    assert "was proposed before" in done.stdout
    assert writing.branches == before
    assert all(told[:2] == ["pr", "list"] for told in writing.gh.told)


def test_a_fork_has_a_branch_of_that_name(writing: Writing) -> None:
    """What strangers call theirs keeps nothing from being proposed."""
    writing.gh.plays(GH.format(known={}, forks=["automation/template-1.2.0"], no_drafts=False))
    made = writing.propose("1.2.0")
    assert writing.run().returncode == 0
    assert writing.branches["automation/template-1.2.0"] == made


@pytest.mark.parametrize("plan", ["with drafts", "without"])
def test_a_draft(writing: Writing, plan: str) -> None:
    """What a person has to go on with is one, where the plan has them."""
    writing.gh.plays(GH.format(known={}, forks=[], no_drafts=plan == "without"))
    writing.propose("1.2.0", draft=True)
    assert writing.run().returncode == 0
    drafts = ["--draft" in told for told in writing.gh.told if told[:2] == ["pr", "create"]]
    assert drafts == ([True] if plan == "with drafts" else [True, False])


@pytest.mark.parametrize("name", ["", "../main", "a b", "-x", "x" * 65, "$(id)", "Ä"])
def test_a_name_that_is_none(writing: Writing, name: str) -> None:
    """A branch is named by the workflow; of what comes from the other job, little is let in."""
    writing.propose(name)
    done = writing.run()
    assert done.returncode != 0
    assert "::error::" in done.stdout
    assert [*writing.branches] == ["main"]


def test_a_push_that_is_refused(writing: Writing) -> None:
    """As GitHub does when a workflow changes and no app is there: it is said what that takes."""
    hook = writing.server / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho no workflows >&2\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)
    writing.propose("1.2.0")
    done = writing.run()
    assert done.returncode != 0
    assert "AUTOMATION_APP" in done.stdout
    assert not [told for told in writing.gh.told if told[:2] == ["pr", "create"]]


# Says yes of what it has signed, by the digest; all else it only notes.
COSIGN = """
signed = {signed!r}
verb, image = sys.argv[1], sys.argv[-1]
known = open(signed).read().split() if os.path.exists(signed) else []
if verb == "verify":
    if os.path.exists(signed + ".down"):
        sys.exit("error: the log does not answer")
    if image not in known:
        sys.exit("Error: no signatures found")
elif verb == "sign":
    if os.path.exists(signed + ".down"):
        sys.exit("error: the log does not answer")
    with open(signed, "a") as file:
        print(image, file=file)
else:
    given = dict(each.split("=") for each in sys.argv[1:] if "=" in each)
    with open(signed + "." + given["--type"], "w") as kept:
        kept.write(open(given["--predicate"]).read())
"""
TRIVY = """
(output,) = [a.partition("=")[2] for a in sys.argv if a.startswith("--output=")]
with open(output, "w") as file:
    json.dump({"bomFormat": "CycloneDX", "of": sys.argv[-1]}, file)
"""


@pytest.mark.project
@pytest.mark.engine
@pytest.mark.parametrize("name", [LAPTOP])
def test_what_is_pushed_is_signed(
    name: str, template: Template, copie_session: Copie, tmp_path: Path, programs: Path
) -> None:
    """With what it holds and what it is of; and what is there unsigned is not believed."""
    engine.require()
    signed = tmp_path / "signed"
    cosign = Played(programs, "cosign").plays(COSIGN.format(signed=str(signed)))
    trivy = Played(programs, "trivy").plays(TRIVY)
    with (
        restored(life(name, template, copie_session).project) as project,
        engine.registry(tmp_path) as address,
    ):
        push_to(project, address)
        known = {
            "CI": "true",
            "PATH": cosign.path,
            "GITHUB_REPOSITORY": "team/my-model",
            "GITHUB_RUN_ID": "12",
            "GITHUB_WORKFLOW_REF": "team/my-model/.github/workflows/main.yml@refs/heads/main",
        }
        push = ("images", "ENV=dev", "IMAGE=register", "PUSH=1", "SIGN=1")
        project.make(*push, **known).failed("a file differs", "commit first")
        project.edit("config/project.yaml", "epoch: 0", f"epoch: {time.time_ns()}")
        commit(project.path, "A registry, and tags of this test")
        project.make(*push, **{**known, "PATH": machine()["PATH"]}).failed("cosign", "SIGN=1 to CI")
        project.make("images", "SIGN=1", **known).failed("SIGN=1 goes with PUSH=1")
        (image,) = images(project, *push[1:], **known)
        try:
            assert image["state"] == "pushed"
            (whole,) = signed.read_text("utf-8").split()
            assert whole.startswith(image["image"].rpartition(":")[0] + "@sha256:")
            assert [told[0] for told in cosign.told] == ["sign", "attest", "attest"]
            assert trivy.told[0][-1] == image["image"]
            held = json.loads((tmp_path / "signed.cyclonedx").read_text("utf-8"))
            assert held == {"bomFormat": "CycloneDX", "of": image["image"]}
            origin = json.loads((tmp_path / "signed.slsaprovenance1").read_text("utf-8"))
            revision = git(project.path, "rev-parse", "HEAD").strip()
            made_of = origin["buildDefinition"]["resolvedDependencies"]
            assert made_of[0]["digest"] == {"gitCommit": revision}
            assert "python" in made_of[1]["uri"]
            run = "https://github.com/team/my-model/actions/runs/12/attempts/1"
            assert origin["runDetails"]["metadata"]["invocationId"] == run
            builder = f"https://github.com/{known['GITHUB_WORKFLOW_REF']}"
            assert origin["runDetails"]["builder"]["id"] == builder

            (again,) = images(project, *push[1:], **known)
            assert again["state"] == "present"
            (asked,) = cosign.told
            whose = "team/my-model/.github/workflows/_main.yml@refs/heads/main"
            assert f"--certificate-identity=https://github.com/{whose}" in asked
            assert "--certificate-oidc-issuer=https://token.actions.githubusercontent.com" in asked

            # Whoever pushed this, it was not the workflow that main starts.
            signed.write_text("", encoding="utf-8")
            check = ("images", "ENV=dev", "IMAGE=register", "CHECK=1", "SIGN=1")
            git(project.path, "remote", "add", "origin", "git@github.com:team/my-model.git")
            laptop = {"PATH": cosign.path}
            assert in_state(images(project, *check[1:], **laptop), "unsigned") == {"register"}
            project.make(*push, **known).failed("main's workflow did not sign it", "images.epoch")
            (tmp_path / "signed.down").touch()
            project.make(*check, **laptop).failed("cannot be looked at", "the log does not answer")
            git(project.path, "remote", "set-url", "origin", "/somewhere/else")
            project.make(*check, **laptop).failed("no repository on GitHub", "git remote add")

            # Neither is what somebody has only called so.
            project.edit("config/project.yaml", "epoch: ", "epoch: 2")
            commit(project.path, "Another tag")
            (tmp_path / "signed.down").unlink()
            (other,) = images(project, *check[1:], **known)
            engine.docker("tag", image["image"], other["image"])
            (built,) = images(project, *push[1:], **known)
            assert built["state"] == "pushed"
            (label,) = labels(other["image"], "version")
            assert label == other["image"].rpartition(":")[2]

            (tmp_path / "signed.down").touch()
            project.edit("config/project.yaml", "epoch: ", "epoch: 1")
            commit(project.path, "Once more")
            done = project.make(*push, **known)
            done.failed("it is pushed, and not signed", "the log does not answer", "images.epoch")
        finally:
            git(project.path, "remote", "remove", "origin", check=False)
            remove(address)


# Finds one thing in what is old, and one in a lock file that has it at its version.
FINDS = """
finding = dict(VulnerabilityID="CVE-2026-1", Severity="HIGH", FixedVersion="2")
kind, target = sys.argv[1], sys.argv[-1]
system = kind == "image" and (not {helps!r} or target.endswith({tag!r}))
python = kind == "fs" and {locked!r} in open(target).read()
found = [dict(Class="os-pkgs", Vulnerabilities=[dict(finding, PkgName="libduck")])] * system
def packages(kind, *names):
    listed = [dict(finding, PkgName=name) for name in names]
    return dict(Class="lang-pkgs", Type=kind, Vulnerabilities=listed)
found += [packages("uv", {package!r})] * python
# What is not Python's, nobody here can lock.
found += [packages("gobinary", "golang.org/x/net")] * (system and not {helps!r})
print(json.dumps(dict(Results=found)))
"""


@pytest.mark.project
@pytest.mark.engine
@pytest.mark.parametrize("name", [LAPTOP])
def test_what_is_found_is_mended(
    name: str, template: Template, copie_session: Copie, tmp_path: Path, programs: Path
) -> None:
    """The epoch is raised where that helps, packages are locked anew, and both are proposed."""
    engine.require()
    trivy = Played(programs, "trivy")
    with (
        restored(life(name, template, copie_session).project) as project,
        engine.registry(tmp_path) as address,
    ):
        push_to(project, address)
        epoch = time.time_ns()
        project.edit("config/project.yaml", "epoch: 0", f"epoch: {epoch}")
        lock_older(project)
        commit(project.path, "A registry, and tags of this test")
        project.make("scan", PATH=machine()["PATH"]).failed("trivy is not on the PATH")
        try:
            image = ("ENV=dev", "IMAGE=register")
            (pushed,) = images(project, *image, "PUSH=1", CI="true")
            tag = pushed["image"].rpartition(":")[2]
            nothing = {"locked": "no such package", "package": "duck", "tag": tag}

            trivy.plays(FINDS.format(helps=False, **nothing))
            done = project.make("scan", "ENV=dev", PATH=trivy.path)
            done.failed("2 known vulnerabilities are left", "train is not there to be looked at")
            assert "libduck" in done.out
            done = project.make("scan", "ENV=dev", "MEND=1", PATH=trivy.path)
            done.failed("2 known", "the base image has no fix yet")
            assert git(project.path, "status", "--porcelain") == ""
            assert not project.proposal

            base = git(project.path, "rev-parse", "HEAD").strip()
            locked = version(project, "typer")
            found = {"locked": locked, "package": "typer", "tag": tag}
            trivy.plays(FINDS.format(helps=True, **found))
            mend = ("scan", "ENV=dev", "MEND=1")
            nowhere = f"unix://{tmp_path}/nowhere"
            project.make(*mend, PATH=trivy.path, DOCKER_HOST=nowhere).failed("looked at or built")
            assert git(project.path, "status", "--porcelain") == ""
            (project.path / "team.txt").write_text("Ours, and not done yet\n", encoding="utf-8")
            git(project.path, "add", "team.txt")
            project.make(*mend, PATH=trivy.path).succeeded()
            said = project.proposal
            assert said["name"].startswith(f"epoch-{epoch + 1}-lock-")
            assert "Nothing that is known" in said["body.md"]
            project.unpack(base, tmp_path / "clone")
            changed = git(tmp_path / "clone", "diff", "--name-only", base).split()
            assert changed == ["config/project.yaml", "uv.lock"]
            text = (tmp_path / "clone/config/project.yaml").read_text("utf-8")
            assert f"epoch: {epoch + 1}" in text
            assert locked not in (tmp_path / "clone/uv.lock").read_text("utf-8")

            git(project.path, "reset", "--quiet", "--hard", base)
            project.edit("uv.lock", "version = 1", "version = 1 ")
            project.make("scan", "MEND=1", PATH=trivy.path).failed("uv.lock is not committed")
            git(project.path, "checkout", "--quiet", "uv.lock")
            project.edit("config/project.yaml", "  epoch:", "  # epoch:")
            commit(project.path, "No epoch")
            trivy.plays("sys.exit('no such database')")
            project.make("scan", PATH=trivy.path).failed("cannot scan uv.lock: no such database")
        finally:
            remove(address)


# Finds a thing in each package of a lock file that is at that version.
KNOWS = """
text = open(sys.argv[-1]).read() if sys.argv[1] == "fs" else ""
names = [name for name, locked in {known!r}.items() if locked in text]
finding = dict(VulnerabilityID="CVE-2026-1", Severity="HIGH", FixedVersion="2")
print(json.dumps(dict(Results=[
    dict(
        Class="lang-pkgs",
        Type="uv",
        Vulnerabilities=[dict(finding, PkgName=name) for name in names],
    )
])))
"""


@pytest.mark.project
@pytest.mark.engine
@pytest.mark.parametrize("name", [LAPTOP])
def test_a_fix_that_is_newer_than_the_template(
    name: str, template: Template, copie_session: Copie, tmp_path: Path, programs: Path
) -> None:
    """It is locked, what exclude-newer keeps away else is not, and an update can move the date."""
    engine.require()
    trivy = Played(programs, "trivy")
    with restored(life(name, template, copie_session).project) as project:
        file = project.path / "pyproject.toml"
        platforms = file.read_text("utf-8")
        newest = lock_before_the_newest(project)
        mine = file.read_text("utf-8")
        commit(project.path, "As before the newest fix")
        base = git(project.path, "rev-parse", "HEAD").strip()
        # One has a fix since; the other is as it was, whatever is tried.
        known = {newest: version(project, newest), "rich": 'name = "rich"\n'}
        trivy.plays(KNOWS.format(known=known))
        project.edit("pyproject.toml", "[tool.uv]", "[tool.uv]\nexclude-newer-package = {}")
        done = project.make("scan", "MEND=1", PATH=trivy.path)
        done.failed("pyproject.toml is not committed")
        commit(project.path, "A table in a line")
        done = project.make("scan", "MEND=1", PATH=trivy.path)
        done.failed("as a table of its own, [tool.uv.exclude-newer-package]")
        assert git(project.path, "status", "--porcelain") == ""
        git(project.path, "reset", "--quiet", "--hard", base)

        done = project.make("scan", "MEND=1", PATH=trivy.path)
        held = ", ".join(sorted(known))
        done.failed("1 known vulnerabilities are left", f"newer than exclude-newer of {held}")
        changed = git(project.path, "diff", "--name-only", base).split()
        assert changed == ["pyproject.toml", "uv.lock"]
        assert project.proposal["title"].startswith("Lock newer packages")
        text = file.read_text("utf-8")
        settings = tomllib.loads(text)["tool"]["uv"]
        assert settings["exclude-newer-package"] == {newest: False}
        assert settings["exclude-newer"] == tomllib.loads(mine)["tool"]["uv"]["exclude-newer"]
        assert version(project, newest) != known[newest]
        lock = (project.path / "uv.lock").read_bytes()
        subprocess.run(("uv", "lock", "--check"), cwd=project.path, env=machine(), check=True)

        # What is exempt already, and still has something, is not locked once more.
        trivy.plays(KNOWS.format(known={newest: version(project, newest)}))
        project.make("scan", "MEND=1", PATH=trivy.path).failed("1 known vulnerabilities")
        assert (file.read_text("utf-8"), (project.path / "uv.lock").read_bytes()) == (text, lock)

        versions = {"mine": text, "before": mine, "platforms": platforms}
        for path, content in versions.items():
            (tmp_path / path).write_text(content, encoding="utf-8")
        subprocess.run(("git", "merge-file", *versions), cwd=tmp_path, check=True)
        file.write_text((tmp_path / "mine").read_text("utf-8"), encoding="utf-8")
        subprocess.run(("uv", "lock", "--quiet"), cwd=project.path, env=machine(), check=True)
        merged = tomllib.loads(file.read_text("utf-8"))["tool"]["uv"]
        assert merged["exclude-newer-package"] == {newest: False}
        assert merged["exclude-newer"] == tomllib.loads(platforms)["tool"]["uv"]["exclude-newer"]


def lock_before_the_newest(project: Generated) -> str:
    """Lock what there was before the newest of all the packages, and return which that is."""
    locked = tomllib.loads((project.path / "uv.lock").read_text("utf-8"))
    uploads = {
        min(file["upload-time"] for file in each["wheels"]): each["name"]
        for each in locked["package"]
        if each.get("wheels")
    }
    newest = max(uploads)
    before = datetime.fromisoformat(newest) - timedelta(minutes=10)
    date = locked["options"]["exclude-newer"]
    project.edit("pyproject.toml", date, f"{before:%Y-%m-%dT%H:%M:%SZ}")
    subprocess.run(("uv", "lock", "--quiet"), cwd=project.path, env=machine(), check=True)
    return str(uploads[newest])


def lock_older(project: Generated) -> None:
    """Lock a package at an older version than the newest that may be had."""
    file = project.path / "pyproject.toml"
    text = file.read_text("utf-8")
    file.write_text(text.replace('"typer>=0.16"', '"typer>=0.16,<0.20"'), encoding="utf-8")
    lock = ("uv", "lock", "--quiet")
    subprocess.run(lock, cwd=project.path, env=machine(), check=True)
    file.write_text(text, encoding="utf-8")
    subprocess.run(lock, cwd=project.path, env=machine(), check=True)
    assert "0.19" in version(project, "typer")


def labels(reference: str, *names: str) -> list[str]:
    """Return some labels of an image."""
    known = json.loads(engine.docker("image", "inspect", reference))[0]["Config"]["Labels"]
    return [known[f"org.opencontainers.image.{name}"] for name in names]


def remove(address: str) -> None:
    """Remove the images of a registry."""
    listed = engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    if ours := [each for each in listed if each.startswith(address)]:
        engine.docker("image", "rm", "--force", *ours)


def version(project: Generated, package: str) -> str:
    """Return how the lock file has a package, by name and version."""
    text = (project.path / "uv.lock").read_text("utf-8")
    (found,) = re.findall(rf'name = "{package}"\nversion = "[^"]+"', text)
    return str(found)


@pytest.mark.project
@pytest.mark.parametrize("name", [LAPTOP])
def test_the_newest_packages(name: str, template: Template, copie_session: Copie) -> None:
    """They are locked in a copy, verbs run there, and the project is as it was."""
    with restored(life(name, template, copie_session).project) as project:
        lock_older(project)
        with (project.path / "project.mk").open("a", encoding="utf-8") as file:
            file.write("show:\n\t@echo $$UV_EXCLUDE_NEWER; grep -c . uv.lock; exit $(FAILS)\n")
        commit(project.path, "Verbs of ours")
        lock = (project.path / "uv.lock").read_bytes()
        worktrees = git(project.path, "worktree", "list")
        done = project.make("newest", "VERBS=show").succeeded()
        assert time.strftime("%Y-%m-") in done.out
        assert "succeeds with the packages of today" in done.out
        assert re.search(r"^typer +0\.19\S* +0\.[2-9]", done.out, re.MULTILINE), done.out
        project.make("newest", "VERBS=show nowhere").failed("`make nowhere` fails", "as it was")
        assert (project.path / "uv.lock").read_bytes() == lock
        assert git(project.path, "worktree", "list") == worktrees


CLOUD = """
if sys.argv[1:3] in (["auth", "print-access-token"], ["ecr", "get-login-password"]):
    print("a-token")
elif sys.argv[1:4] == ["config", "config-helper", "--min-expiry=15m"]:
    assert sys.argv[4] == "--format=value(credential.access_token,credential.token_expiry)"
    print("a-token", "2030-01-01T00:00:00Z", sep="\t")
elif sys.argv[1:3] == ["container", "clusters"]:
    print(json.dumps(dict(endpoint="203.0.113.9", masterAuth=dict(clusterCaCertificate="Y2E="))))
elif "nowhere" in sys.argv:
    sys.exit("You are logged in to nothing")
"""


@pytest.mark.project
@pytest.mark.parametrize("name", [LAPTOP])
def test_a_login(
    name: str, template: Template, copie_session: Copie, tmp_path: Path, programs: Path
) -> None:
    """By what an environment's file says, and by the programs of the clouds."""
    docker = Played(programs, "docker").plays(
        "open(__file__ + '.given', 'w').write(sys.stdin.read())"
    )
    aws, gcloud = (Played(programs, each).plays(CLOUD) for each in ("aws", "gcloud"))
    given = programs / "docker.given"
    kubeconfig = tmp_path / "kube/config"
    with restored(life(name, template, copie_session).project) as project:
        file = project.path / "config/environments/dev.yaml"
        text = file.read_text("utf-8")

        def log_in(**values: str | None) -> Any:
            known = {"PATH": docker.path, "KUBECONFIG": str(kubeconfig), "GITHUB_TOKEN": None}
            return project.make("login", "ENV=dev", **{**known, **values})

        def configure(registry: str, context: str) -> None:
            file.write_text(
                re.sub("registry: .*", f"registry: {registry}", text).replace(
                    'context: ""', f"context: {context}"
                ),
                encoding="utf-8",
            )

        assert "as the engine is logged in" in log_in().succeeded().out
        assert not docker.told
        log_in(**{"GITHUB_TOKEN": "mine", "GITHUB_ACTOR": "duck"}).succeeded()
        assert docker.told[-1] == ["login", "--username=duck", "--password-stdin", "ghcr.io"]
        assert given.read_text("utf-8") == "mine"

        configure("1.dkr.ecr.eu-west-1.amazonaws.com/ml", "ml-nonprod")
        log_in(AWS_REGION=None).succeeded()
        host = "1.dkr.ecr.eu-west-1.amazonaws.com"
        assert docker.told[-1] == ["login", "--username=AWS", "--password-stdin", host]
        place = ["--region", "eu-west-1", "--name", "ml-nonprod", "--alias", "ml-nonprod"]
        assert aws.told[-1] == ["eks", "update-kubeconfig", *place]
        configure("1.dkr.ecr.eu-west-1.amazonaws.com/ml", "nowhere")
        log_in().failed("`aws eks update-kubeconfig` refuses: You are logged in to nothing")

        configure("europe-west4-docker.pkg.dev/ml/images", "gke_ml_europe-west4_ml-nonprod")
        kubeconfig.parent.mkdir()
        before = {"name": "mine", "context": {"cluster": "mine", "user": "me"}}
        kubeconfig.write_text(json.dumps({"contexts": [before], "current-context": "mine"}))
        log_in().succeeded()
        registry = "europe-west4-docker.pkg.dev"
        assert docker.told[-1][1:] == ["--username=oauth2accesstoken", "--password-stdin", registry]
        described = ["ml-nonprod", "--location=europe-west4", "--project=ml", "--format=json"]
        assert ["container", "clusters", "describe", *described] in gcloud.told
        written = yaml.safe_load(kubeconfig.read_text("utf-8"))
        contexts = {each["name"] for each in written["contexts"]}
        assert contexts == {"mine", "gke_ml_europe-west4_ml-nonprod"}
        assert written["clusters"][0]["cluster"]["server"] == "https://203.0.113.9"
        # No token is kept: one is asked for when it is needed, so that what runs long goes on.
        assert "a-token" not in kubeconfig.read_text("utf-8")
        asks = written["users"][0]["user"]["exec"]
        command = [asks["command"], *asks["args"]]
        on_the_path = {**machine(), "PATH": gcloud.path}
        assert json.loads(subprocess.check_output(command, env=on_the_path)) == {
            "apiVersion": asks["apiVersion"],
            "kind": "ExecCredential",
            "status": {"token": "a-token", "expirationTimestamp": "2030-01-01T00:00:00Z"},
        }
        gcloud.plays("sys.exit('You are logged in to nothing')")
        assert subprocess.run(command, env=on_the_path, check=False).returncode
        assert oct(kubeconfig.stat().st_mode)[-3:] in ("600", "644")
        assert "this machine alone" in project.make("login").succeeded().out


@pytest.mark.project
@pytest.mark.parametrize("name", [LAPTOP])
def test_a_login_to_promote(
    name: str, template: Template, copie_session: Copie, tmp_path: Path, programs: Path
) -> None:
    """To two registries, of two accounts say, and to one cluster alone."""
    docker = Played(programs, "docker").plays("")
    aws = Played(programs, "aws").plays(CLOUD)
    hosts = {env: f"{env}.dkr.ecr.us-east-1.amazonaws.com" for env in ("1", "2")}
    with restored(life(name, template, copie_session).project) as project:
        for env, account in {"staging": "1", "prod": "2"}.items():
            file = project.path / f"config/environments/{env}.yaml"
            text = re.sub("registry: .*", f"registry: {hosts[account]}/ml", file.read_text("utf-8"))
            file.write_text(text.replace('context: ""', f"context: ml-{env}"), encoding="utf-8")

        def log_in(*arguments: str) -> tuple[list[str], list[str]]:
            known = {"PATH": docker.path, "KUBECONFIG": str(tmp_path / "config")}
            project.make("login", "ENV=prod", *arguments, **known).succeeded()
            clusters = [told[-1] for told in aws.told if told[0] == "eks"]
            return [told[-1] for told in docker.told if told[0] == "login"], clusters

        assert log_in() == ([hosts["2"]], ["ml-prod"])
        assert log_in("PROMOTE=1") == ([hosts["2"], hosts["1"]], ["ml-prod"])
        # Nothing comes before dev.
        known = {"PATH": docker.path, "GITHUB_TOKEN": "mine"}
        project.make("login", "ENV=dev", "PROMOTE=1", **known).succeeded()
        assert [told[-1] for told in docker.told if told[0] == "login"] == ["ghcr.io"]


def test_what_promotes_reaches_both_registries() -> None:
    """It is logged in to both before it releases, and has the program that copies."""
    steps = WORKFLOWS["_promote"]["jobs"]["prepare"]["steps"]
    (login,) = (each for each in steps if each.get("uses", "").endswith("/actions/login"))
    assert login["with"]["promote"] == "1"
    action = yaml.safe_load((GITHUB / "actions/login/action.yml").read_text("utf-8"))
    (last,) = (each for each in action["runs"]["steps"] if "make login" in each.get("run", ""))
    assert 'PROMOTE="$PROMOTE"' in last["run"]
    assert last["env"]["PROMOTE"] == "${{ inputs.promote }}"
    names = [each.get("uses", each.get("run", "")).partition("@")[0] for each in steps]
    released = next(i for i, name in enumerate(names) if name.startswith("make propose-release"))
    assert names.index("oras-project/setup-oras") < steps.index(login) < released
