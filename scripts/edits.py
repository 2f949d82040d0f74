"""The corpus: what teams do to a generated project, and what an update owes them for it.

An edit is a function that does a team's work through `Work`, which notes, from that work alone,
what has to be true ever after: promises. Nothing here knows how an update is made.
"""

import difflib
import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from scripts.repository import git

MARKERS = (b"<<<<<<< before updating", b">>>>>>> after updating")

Change = Callable[[bytes], bytes]
Answers = dict[str, Any]


def state(path: Path) -> str:
    """Say what is at a path: nothing, a link, a file with its hash, or a submodule's commit."""
    if path.is_symlink():
        return f"link to {path.readlink()}"
    if path.is_file():
        return describe(path.read_bytes(), executable=os.access(path, os.X_OK))
    if (path / ".git").exists():
        return f"commit {git(path, 'rev-parse', 'HEAD')}"
    return "folder" if path.is_dir() else "nothing"


def lines_of(content: bytes) -> list[bytes]:
    """Split a file into lines, of which a carriage return is part."""
    return content.split(b"\n")


def describe(content: bytes, *, executable: bool) -> str:
    """Say what a file is, by its hash."""
    return f"file {hashlib.sha256(content).hexdigest()}{' executable' * executable}"


@dataclass(frozen=True)
class Kept:
    """What is at this path stays as it is, byte for byte: the team's file, or nothing at all."""

    path: str
    state: str

    def broken(self, project: Path, *, conflict: bool = False) -> str:
        """Say what is there instead; nothing if the promise holds."""
        found = state(project / self.path)
        return "" if found == self.state else f"{self.path}: {found} instead of {self.state}"


@dataclass(frozen=True)
class Blended:
    """A file that the platform changes too has what the team added, and not what it took out."""

    path: str
    change: Change
    """What the team did: done to the platform's next version, it gives what has to come out."""
    added: tuple[bytes, ...]
    removed: tuple[bytes, ...]
    executable: bool

    def broken(self, project: Path, *, conflict: bool = False) -> str:
        """Say which lines are missing or back. A conflict shows what was taken out once more."""
        file = project / self.path
        lines = Counter(lines_of(file.read_bytes())) if file.is_file() else Counter()
        lost = list((Counter(self.added) - lines).elements())
        back = [] if conflict else [line for line in self.removed if line in lines]
        if self.executable and not os.access(file, os.X_OK):
            lost.append(b"the executable bit")
        text = [f"{len(lost)} lines are lost, {lost[0]!r}"] if lost else []
        text += [f"{len(back)} lines are back, {back[0]!r}"] if back else []
        return f"{self.path}: {'; '.join(text)}" if text else ""

    def in_conflict(self, project: Path, fresh: Path) -> bool:
        """Tell whether any of the work is between a conflict's markers, or has lost its place."""
        try:
            self.change((fresh / self.path).read_bytes())
        except LookupError:
            return True
        inside: list[bytes] = []
        outside: list[bytes] = []
        lines = outside
        for line in lines_of((project / self.path).read_bytes()):
            if line.startswith(MARKERS[1]):
                lines = outside
            elif line.startswith(MARKERS[0]) or lines is inside:
                lines = inside
            lines.append(line)
        return bool(Counter(self.added) - Counter(outside) or {*self.removed} & {*inside})


Promise = Kept | Blended


def replaced(old: str, new: str) -> Change:
    """Return a change of one place.

    Raises:
        LookupError: when it is done where there is no such place, or another one like it.
    """

    def change(content: bytes) -> bytes:
        if content.count(old.encode()) != 1:
            raise LookupError(f"{old!r} is not there, or not once")
        return content.replace(old.encode(), new.encode())

    return change


def appended(text: str) -> Change:
    """Return a change at the end."""
    return lambda content: content + text.encode()


def written(text: str) -> Change:
    """Return a change that leaves nothing of what was there."""
    return lambda _: text.encode()


class Work:
    """A team at work in a project: what it does, and what has to be true of it from then on."""

    def __init__(self, project: Path) -> None:
        """Begin in a project that is committed."""
        self.project = project
        """Where the project is, which an edit may change."""
        self.answers_file = ".copier-answers.yml"
        self._kept: list[str] = []
        self._blended: list[Blended] = []

    def promises(self) -> list[Promise]:
        """Return what has to be true from now on, of the files as they are now."""
        kept = [Kept(path, state(self.project / path)) for path in dict.fromkeys(self._kept)]
        return [*kept, *self._blended]

    @property
    def package(self) -> str:
        """Return the folder of the Python package, relative to the project."""
        return f"src/{next(self.project.glob('src/*/__init__.py')).parent.name}"

    def keep(self, path: str) -> None:
        """Note that what is at a path, perhaps nothing, stays so."""
        self._kept.append(path)

    def write(self, path: str, content: str | bytes = "Ours\n") -> None:
        """Write a file of the team's own, or all of an owned one."""
        file = self.project / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        self.keep(path)

    def edit(self, path: str, *changes: Change) -> None:
        """Change a file that is the team's alone."""
        before = content = (self.project / path).read_bytes()
        for change in changes:
            content = change(content)
        if content == before:
            raise LookupError(f"{path} is as it was")
        self.write(path, content)

    def blend(self, path: str, *changes: Change, executable: bool = False) -> None:
        """Change a file that the platform changes too."""

        def all_changes(content: bytes) -> bytes:
            for change in changes:
                content = change(content)
            return content

        file = self.project / path
        before = file.read_bytes() if file.exists() else b""
        after = all_changes(before)
        if after == before and not executable:
            raise LookupError(f"{path} is as it was")
        old, new = lines_of(before), lines_of(after)
        added: list[bytes] = []
        removed: list[bytes] = []
        matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
        for kind, first, last, start, end in matcher.get_opcodes():
            if kind != "equal":
                removed += old[first:last]
                added += new[start:end]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(after)
        if executable:
            file.chmod(file.stat().st_mode | 0o111)
        gone = tuple(line for line in removed if line not in new)
        self._blended.append(Blended(path, all_changes, tuple(added), gone, executable))

    def delete(self, path: str) -> None:
        """Delete a file, or a folder with all that is in it."""
        for file in self.files(path):
            (self.project / file).unlink()
            self.keep(file)
        shutil.rmtree(self.project / path, ignore_errors=True)

    def move(self, old: str, new: str) -> None:
        """Rename a file, or a folder with all that is in it."""
        moved = self.files(old)
        (self.project / new).parent.mkdir(parents=True, exist_ok=True)
        (self.project / old).rename(self.project / new)
        for file in moved:
            self.keep(file)
            self.keep(new + file.removeprefix(old))

    def link(self, path: str, target: str) -> None:
        """Make a symbolic link, in the place of what was there."""
        (self.project / path).parent.mkdir(parents=True, exist_ok=True)
        (self.project / path).unlink(missing_ok=True)
        (self.project / path).symlink_to(target)
        self.keep(path)

    def files(self, path: str) -> list[str]:
        """List the files below a folder, or the file itself."""
        root = self.project / path
        found = [file for file in sorted(root.rglob("*")) if file.is_symlink() or file.is_file()]
        paths = [file.relative_to(self.project).as_posix() for file in found]
        return paths if root.is_dir() and not root.is_symlink() else [path]

    def commit(self) -> None:
        """Commit everything, as a team does before an update."""
        git(self.project, "add", "--all", ":/")
        git(self.project, "commit", "--quiet", "--no-verify", "--allow-empty", "-m", "Our work")


@dataclass(frozen=True)
class Edit:
    """One thing that teams do."""

    name: str
    says: str
    """What the team did, in a sentence."""
    do: Callable[[Work], None]
    group: str
    """Edits of one group are done in one project."""
    worst: str
    """What a plain `copier update` may come to: "kept", "conflict", "refused" or "lost"."""
    why: str
    """Why it may be worse than "kept"."""
    before: Answers
    """What the project was generated with."""
    answers: Answers
    """What is answered in the same update."""
    releases: SpecifierSet
    """Of projects made by which releases: all, or those that lack or have some path."""


NETWORK_POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: ours
spec:
  podSelector: {}
  policyTypes: [Egress]
  egress:
    - to: [{ipBlock: {cidr: 10.20.0.0/16}}]
"""

EDITS: list[Edit] = []
"""All of them, in the order of this file."""

# Edits of one group are done in one project, and updated at once.
WORKING = "working"
"""Those after which everything in the project still works."""
APART = "apart"
CLASHING = "clashing"
IN_THE_WAY = "in_the_way"
LIMITS = "limits"
CLOUDS = "clouds"
ANSWERS = "answers"
BOTH: Answers = {"cloud_targets": ["gcp", "aws"]}
"""Answers of projects whose clusters Terraform makes."""
HAVING: Answers = {"extra_steps": ["clean_text", "join"]}
"""Answers that projects of that group have, and those that the update changes."""
CHANGING: Answers = {
    "extra_steps": ["join", "split_up"],
    "kubeflow_components": ["pipelines", "serving", "mlflow"],
    "project_name": "Churn",
    "project_owner": "acme",
}


def edit(
    group: str = "",
    *,
    conflict: str = "",
    refused: str = "",
    lost: str = "",
    before: Answers | None = None,
    answers: Answers | None = None,
    releases: str = "",
) -> Callable[[Callable[[Work], None]], Callable[[Work], None]]:
    """Add a function to the corpus; its name and its docstring are the edit's.

    Without a group it is done in a project of its own. Where an update may do worse than keep the
    work, one of `conflict`, `refused` and `lost` says why.
    """
    worst = "conflict" if conflict else "refused" if refused else "lost" if lost else "kept"

    def add(do: Callable[[Work], None]) -> Callable[[Work], None]:
        made = Edit(
            name=do.__name__,
            says=(do.__doc__ or "").removesuffix("."),
            do=do,
            group=group or do.__name__,
            worst=worst,
            why=conflict or refused or lost,
            before=before or {},
            answers=answers or {},
            releases=SpecifierSet(releases),
        )
        EDITS.append(made)
        return do

    return add


def ours(work: Work) -> None:
    """Do a little of everything, where the point is not what was edited but where."""
    work.edit("config/project.yaml", appended("# Ours\n"))
    work.write("docs/ours.md")
    work.delete("docs/decisions/README.md")
    work.delete(".editorconfig")
    work.blend("README.md", appended("\nOurs\n"))


# --- The team's own files -------------------------------------------------------------------------


@edit(WORKING)
def settings(work: Work) -> None:
    """Other values in `config/project.yaml`."""
    work.edit("config/project.yaml", replaced("regularisation: 1.0", "regularisation: 0.5"))


@edit(WORKING)
def settings_key(work: Work) -> None:
    """A key of their own in `config/project.yaml`, and the setting that reads it."""
    work.edit("config/project.yaml", replaced("\nvalidate:\n", "\nvalidate:\n  max_rows: 9\n"))
    work.edit("steps/validate/settings.py", appended('\n    max_rows: int = 9\n    """Ours."""\n'))


@edit(WORKING)
def environment(work: Work) -> None:
    """An environment of their own."""
    local = (work.project / "config/environments/local.yaml").read_bytes()
    work.write("config/environments/qa.yaml", local.replace(b"artifacts", b"artifacts/qa"))


@edit(WORKING, releases="<0.3")
def environment_before_the_platform(work: Work) -> None:
    """An environment called `dev`, before the platform brought one."""
    local = (work.project / "config/environments/local.yaml").read_bytes()
    work.write("config/environments/dev.yaml", local.replace(b"artifacts", b"artifacts/dev"))


@edit(WORKING)
def features(work: Work) -> None:
    """Another transformer in `features.py`."""
    path = f"{work.package}/features.py"
    work.edit(path, replaced("StandardScaler())", "StandardScaler(with_mean=True))"))


@edit(WORKING)
def module(work: Work) -> None:
    """A module of their own in `src/`, named like one of the platform's tools."""
    work.write(f"{work.package}/images.py", '"""Ours."""\n')


@edit(WORKING)
def module_becomes_folder(work: Work) -> None:
    """A module that became a folder: `model.py` is now `model/`."""
    content = (work.project / f"{work.package}/model.py").read_bytes()
    work.delete(f"{work.package}/model.py")
    work.write(f"{work.package}/model/__init__.py", content.replace(b"from .", b"from .."))


@edit(WORKING)
def reformatted(work: Work) -> None:
    """An owned file in another style."""
    path = f"{work.package}/data.py"
    work.edit(path, lambda content: b"# fmt: off\n" + content.replace(b"    ", b"  "))


@edit(APART)
def package(work: Work) -> None:
    """The package renamed: its folder, every import, its name in `pyproject.toml`."""
    old = work.package.removeprefix("src/").encode()
    work.move(work.package, "src/churn")
    for folder in ("src", "steps", "pipelines", "tests/unit", "tests/model", "conftest.py"):
        for path in work.files(folder):
            if old in (work.project / path).read_bytes():
                work.edit(path, lambda content: content.replace(old, b"churn"))
    work.blend("pyproject.toml", lambda content: content.replace(b"src/" + old, b"src/churn"))


@edit(WORKING)
def pipeline(work: Work) -> None:
    """A pipeline of their own."""
    content = (work.project / "pipelines/training.py").read_bytes()
    content = content.replace(b"def training(", b"def retraining(")
    work.write("pipelines/retraining.py", content.replace(b"-training", b"-retraining"))


@edit(WORKING)
def target(work: Work) -> None:
    """A target in `project.mk`, with a name that the platform uses too, by now."""
    work.edit("project.mk", appended("\n.PHONY: report\nreport: ## Ours\n\t@echo ours\n"))


@edit(WORKING)
def workflow(work: Work) -> None:
    """A CI job of their own."""
    steps = "runs-on: ubuntu-latest\n    steps:\n      - run: make test\n"
    work.write(".github/workflows/own.yml", f"on: push\njobs:\n  ours:\n    {steps}")


@edit(WORKING, releases="<0.8")
def checks_before_the_platform(work: Work) -> None:
    """A workflow `ci.yml`, code owners and a template of their own, before the platform's."""
    steps = "runs-on: ubuntu-latest\n    steps:\n      - run: make check test\n"
    work.write(".github/workflows/ci.yml", f"on: pull_request\njobs:\n  ours:\n    {steps}")
    work.write(".github/CODEOWNERS", "* @acme/ours\n")
    work.write(".github/pull_request_template.md")


@edit(WORKING, releases=">=0.8")
def checks(work: Work) -> None:
    """Another trigger of the checks, a job of their own, other code owners."""
    work.edit(".github/workflows/ci.yml", replaced("  merge_group:\n", "  workflow_dispatch:\n"))
    job = "  ours:\n    runs-on: ubuntu-latest\n    steps:\n      - run: make test\n"
    work.edit(".github/workflows/project.yml", appended(f"\n{job}"))
    work.edit(".github/CODEOWNERS", appended("/src/ @acme/ours\n"))


@edit(WORKING, releases=">=0.8")
def checks_of_the_platform(work: Work) -> None:
    """More minutes for the tests, in the platform's workflow."""
    line = (
        "    timeout-minutes: 30\n    permissions:\n      contents: read # to check out the code\n"
    )
    tests = f"    name: Test\n    runs-on: ${{{{ vars.RUNNER || 'ubuntu-latest' }}}}\n{line}"
    more = tests.replace("minutes: 30", "minutes: 45")
    work.blend(".github/workflows/_pull-request.yml", replaced(tests, more))


@edit(APART, releases=">=0.8")
def checks_deleted(work: Work) -> None:
    """Checks elsewhere: the entry points, the code owners and the templates deleted."""
    for path in ("workflows/ci.yml", "workflows/project.yml", "CODEOWNERS", "ISSUE_TEMPLATE"):
        work.delete(f".github/{path}")


@edit(answers={"with_github_actions": False}, releases=">=0.8")
def github_left(work: Work) -> None:
    """GitHub left in the same update; `ci.yml` edited."""
    work.edit(".github/workflows/ci.yml", appended("# Ours\n"))


@edit(WORKING)
def page(work: Work) -> None:
    """A page in the platform's `docs/`, which happens to show the markers of a conflict."""
    marks = "<<<<<<< before updating\nours\n=======\ntheirs\n>>>>>>> after updating\n"
    work.write("docs/how-we-merge.md", f"# How we merge\n\n```\n{marks}```\n")


@edit(WORKING)
def decision(work: Work) -> None:
    """A decision written down; the page about decisions deleted."""
    work.write("docs/decisions/2026-11-20-why.md", "# Why\n")
    work.delete("docs/decisions/README.md")


@edit(WORKING)
def contract(work: Work) -> None:
    """A test of their own among the platform's contracts."""
    work.write("tests/contracts/test_ours.py", "def test_ours() -> None:\n    assert True\n")


@edit(WORKING)
def deleted_test(work: Work) -> None:
    """An owned test deleted."""
    work.delete("tests/unit/test_notebooks.py")


@edit(WORKING)
def moved_folder(work: Work) -> None:
    """An owned folder moved."""
    work.move("notebooks", "research/notebooks")


@edit(APART)
def notebook(work: Work) -> None:
    """A notebook saved with its outputs."""
    output = b'"outputs": [{"output_type": "stream", "name": "stdout", "text": ["ours"]}]'
    path = "notebooks/01-explore.ipynb"
    work.edit(path, lambda content: content.replace(b'"outputs": []', output))


@edit(WORKING, releases=">=0.2")
def predictor(work: Work) -> None:
    """What the model server answers, changed."""
    work.edit("serving/predictor.py", appended("\n\n# Ours\n"))


@edit(WORKING, releases=">=0.5")
def overlay(work: Work) -> None:
    """An overlay with more servers, another scale target, a variable and a policy of their own."""
    folder = "serving/deploy/overlays/prod"
    served = f"{folder}/inference-service.yaml"
    work.edit(served, replaced("maxReplicas: 6", "maxReplicas: 12"))
    work.edit(served, replaced("scaleTarget: 80", "scaleTarget: 60"))
    work.edit(served, appended('          - name: OURS\n            value: "1"\n'))
    work.write(f"{folder}/network-policy.yaml", NETWORK_POLICY)
    more = replaced("  - release.yaml\n", "  - release.yaml\n  - network-policy.yaml\n")
    work.edit(f"{folder}/kustomization.yaml", more)


@edit(WORKING, releases=">=0.5")
def overlay_deleted(work: Work) -> None:
    """An environment that they do without, and its overlay, deleted."""
    work.delete("config/environments/staging.yaml")
    work.delete("serving/deploy/overlays/staging")


@edit(WORKING, releases=">=0.5")
def base_of_overlays(work: Work) -> None:
    """A label in the platform's InferenceService."""
    named = '  annotations:\n    serving.kserve.io/deploymentMode: "Standard"\n'
    edited = replaced(named, f"  labels:\n    cost-centre: ours\n{named}")
    work.blend("serving/deploy/base/inference-service.yaml", edited)


@edit(WORKING, releases="<0.6")
def watch_before_the_platform(work: Work) -> None:
    """A pipeline `monitoring` of their own, before the platform brought one."""
    content = (work.project / "pipelines/training.py").read_bytes()
    content = content.replace(b"def training(", b"def monitoring(")
    work.write("pipelines/monitoring.py", content.replace(b"-training", b"-monitoring"))


@edit(WORKING, releases=">=0.6")
def watch(work: Work) -> None:
    """Other thresholds, and a pipeline `monitoring` that does more."""
    work.edit("config/project.yaml", replaced("  distance: 0.1\n", "  distance: 0.2\n"))
    work.edit("pipelines/monitoring.py", appended("\n\n# Ours\n"))


@edit(APART, releases=">=0.6")
def watch_deleted(work: Work) -> None:
    """The pipeline `monitoring` and its step, deleted."""
    work.delete("pipelines/monitoring.py")
    work.delete("steps/monitor")


@edit(answers={"serving_mode": "Knative"}, releases=">=0.5")
def mode_switched(work: Work) -> None:
    """Another mode of KServe in the same update; an overlay edited."""
    overlay(work)


@edit(CLOUDS, before=BOTH, releases=">=0.7")
def cluster_values(work: Work) -> None:
    """A cluster's values: another region, who administers it, GitHub's numbers."""
    path = "infra/environments/nonprod/aws/terraform.tfvars"
    work.edit(path, lambda content: content.replace(b"us-east-1", b"eu-west-1"))
    work.edit(path, appended('api_access = { admins = ["arn:aws:iam::1:role/ours"] }\n'))


@edit(CLOUDS, before=BOTH, releases=">=0.7")
def cluster_inputs(work: Work) -> None:
    """More of the module's inputs, and a resource of their own beside it."""
    path = "infra/environments/nonprod/aws/main.tf"
    pools = "  node_pools = { system = { min = 3, max = 6 } }\n  deletion_protection ="
    work.edit(path, replaced("  deletion_protection =", pools))
    work.write(
        "infra/environments/nonprod/aws/budget.tf", 'resource "aws_budgets_budget" "it" {}\n'
    )


@edit(CLOUDS, before=BOTH, releases=">=0.7")
def cluster_state(work: Work) -> None:
    """Where the state is, as `make infra-apply ENV=bootstrap` writes it; the providers' lock."""
    work.write("infra/environments/nonprod/aws/backend.hcl", 'bucket = "ours"\n')
    work.write("infra/environments/nonprod/aws/.terraform.lock.hcl", "# Ours\n")
    work.write("infra/bootstrap/gcp/prod.tfvars", 'project = "ours"\n')


@edit(CLOUDS, before=BOTH, releases=">=0.7")
def cluster_deleted(work: Work) -> None:
    """A cluster that is not needed deleted: its root."""
    work.delete("infra/environments/prod/gcp")


@edit(CLOUDS, before=BOTH, releases=">=0.7")
def module_edited(work: Work) -> None:
    """Another default in the platform's module."""
    path = "infra/modules/eks/limits.tf"
    work.blend(path, replaced('["m7i.xlarge"]', '["m7i.2xlarge"]'))


@edit(before=BOTH, answers={"cloud_targets": ["aws"]}, releases=">=0.7")
def clouds_left(work: Work) -> None:
    """A cloud left in the same update; its values edited, a root of the other deleted."""
    path = "infra/environments/prod/gcp/terraform.tfvars"
    work.edit(path, replaced('project = ""', 'project = "ours"'))
    work.delete("infra/environments/prod/aws")


@edit(answers=BOTH, releases=">=0.7")
def clouds_chosen(work: Work) -> None:
    """Both clouds chosen in the same update; a file of their own where one of them comes."""
    work.write("infra/environments/nonprod/aws/main.tf", "# Ours\n")


@edit(WORKING, releases="<0.8")
def delivery_before_the_platform(work: Work) -> None:
    """Workflows and settings of Renovate of their own, where the platform brings some later."""
    for name in ("main", "nightly", "release"):
        path = f".github/workflows/{name}.yml"
        work.write(path, f"on: push\njobs:\n  {name}:\n    uses: ./.github/workflows/ours.yml\n")
    work.write("renovate.json", '{"enabled": false}\n')


@edit(WORKING, releases=">=0.8")
def delivery_times(work: Work) -> None:
    """Another hour for the nightly workflow, another branch; no weekly update; Renovate's rules."""
    work.edit(".github/workflows/nightly.yml", replaced("cron: 17 3", "cron: 0 5"))
    work.edit(".github/workflows/main.yml", replaced("branches: [main]", "branches: [trunk]"))
    work.delete(".github/workflows/template-update.yml")
    work.edit("renovate.json", replaced('"config:recommended"', '"config:best-practices"'))


@edit(APART, releases=">=0.2")
def deleted_part(work: Work) -> None:
    """The folder of the model server deleted."""
    work.delete("serving")


@edit(IN_THE_WAY, releases="<0.2", conflict="the platform puts a file at the same path")
def folder_before_the_platform(work: Work) -> None:
    """A folder `serving/` of their own, before the platform brought one."""
    work.write("serving/predictor.py", "OURS = 1\n")
    work.write("serving/ours.py", "OURS = 1\n")
    work.blend("serving/Dockerfile", written("FROM scratch\n"))


# --- Steps ----------------------------------------------------------------------------------------


def copied_step(work: Work, name: str) -> None:
    """Copy the step `validate` by hand, but for its Dockerfile, and rename what has its name."""
    for path in work.files("steps/validate"):
        if not path.endswith("Dockerfile"):
            content = (work.project / path).read_bytes().replace(b"validate", name.encode())
            work.write(path.replace("validate", name), content)


@edit(WORKING)
def step(work: Work) -> None:
    """A step of their own, copied by hand."""
    copied_step(work, "tidy")
    work.write("steps/tidy/Dockerfile", "FROM scratch\n")
    section = "\ntidy:\n  min_rows: 100\n\ntrain:\n"
    work.edit("config/project.yaml", replaced("\ntrain:\n", section))


@edit(WORKING)
def step_dependency(work: Work) -> None:
    """A Python package and a Debian package for one step."""
    path = "steps/train/pyproject.toml"
    work.edit(path, replaced("dependencies = [\n", 'dependencies = [\n  "joblib>=1.4",\n'))
    work.edit("steps/train/apt.txt", appended("libgomp1\n"))


@edit(APART)
def deleted_step(work: Work) -> None:
    """A core step deleted by hand."""
    work.delete("steps/validate")


@edit(APART)
def renamed_step(work: Work) -> None:
    """A core step renamed by hand."""
    work.move("steps/ingest", "steps/fetch")


@edit(IN_THE_WAY, releases="<0.2", conflict="the platform puts a file at the same path")
def step_before_the_platform(work: Work) -> None:
    """A step called `predict`, before the platform brought one."""
    copied_step(work, "predict")
    work.blend("steps/predict/Dockerfile", written("FROM scratch\n"))


# --- Files that the platform changes too ----------------------------------------------------------


@edit(WORKING)
def dependency(work: Work) -> None:
    """A tool for development in `pyproject.toml`, among the platform's."""
    change = replaced('  "pytest>=8.4",\n', '  "pytest>=8.4",\n  "pytest-sugar>=1",\n')
    work.blend("pyproject.toml", change)


@edit(CLASHING, conflict="the platform moves the date")
def bound_removed(work: Work) -> None:
    """The bound on upload dates taken out, for an index that does not know them."""
    work.blend("pyproject.toml", replaced('exclude-newer = "2026-11-21T00:00:00Z"\n', ""))


@edit(WORKING)
def lint_rule(work: Work) -> None:
    """A rule of ruff switched off."""
    rules = '"RUF", "S", "SIM", "UP"]\n'
    work.blend("pyproject.toml", replaced(rules, f'{rules}ignore = ["N806"]\n'))


@edit(CLASHING, conflict="the platform added lines at the same place")
def dependency_at_a_change(work: Work) -> None:
    """A tool in `pyproject.toml`, just where the platform adds some."""
    work.blend("pyproject.toml", replaced('  "kfp",\n', '  "kfp",\n  "polars>=1",\n'))


@edit(CLASHING, conflict="the platform added lines at the same place")
def pin(work: Work) -> None:
    """A stricter pin in the place of the platform's."""
    work.blend("pyproject.toml", replaced('"pandas<3"', '"pandas<2.4"'))


@edit(WORKING)
def ignored(work: Work) -> None:
    """Lines of their own in `.gitignore`, one of the platform's taken out."""
    change = replaced(".ipynb_checkpoints/\n", "")
    work.blend(".gitignore", change, appended("\n/data/\n*.local\n"))


@edit(WORKING)
def attributes(work: Work) -> None:
    """A line of their own in `.gitattributes`."""
    work.blend(".gitattributes", appended("*.parquet binary\n"))


@edit(WORKING)
def hook(work: Work) -> None:
    """A hook of their own in `.pre-commit-config.yaml`."""
    lines = ("- id: ours", "  name: ours", "  entry: make test", "  language: system")
    work.blend(".pre-commit-config.yaml", appended("".join(f"      {line}\n" for line in lines)))


@edit(WORKING)
def readme(work: Work) -> None:
    """Another title, a badge and a section in the README."""
    work.blend(
        "README.md",
        replaced("# My Model\n", "# Churn\n\n![state](https://example.com/badge.svg)\n"),
        replaced("## Words\n", "## Whom to call\n\nAsk us first.\n\n## Words\n"),
    )


@edit(WORKING)
def readme_end(work: Work) -> None:
    """A last line in the README, with blanks behind it and no line break."""
    work.blend("README.md", appended("\nCall 112.   "))


@edit(CLASHING, conflict="both rewrote the same lines")
def readme_rewritten(work: Work) -> None:
    """A README of which no line is the platform's."""
    work.blend("README.md", written("# Churn\n\nWho leaves next month.\n\nAsk us.\n"))


@edit(APART)
def readme_deleted(work: Work) -> None:
    """The README and the hooks of pre-commit deleted."""
    work.delete("README.md")
    work.delete(".pre-commit-config.yaml")


@edit()
def readme_renamed(work: Work) -> None:
    """The README under a name that differs by case alone."""
    work.move("README.md", "readme.md")


@edit(IN_THE_WAY, conflict="the platform changes the file, and there is a link")
def readme_linked(work: Work) -> None:
    """The README moved into `docs/`, a link in its place."""
    work.move("README.md", "docs/index.md")
    work.link("README.md", "docs/index.md")


# --- The platform's files, which no team needs to edit --------------------------------------------


@edit(WORKING)
def makefile_end(work: Work) -> None:
    """A target at the end of the Makefile."""
    work.blend("Makefile", appended("\n.PHONY: ours\nours:\n\t@echo ours\n"))


@edit(WORKING)
def makefile(work: Work) -> None:
    """A line of the Makefile that the platform leaves as it is, not far from those it changes."""
    work.blend("Makefile", replaced("test: $(READY) ## Run the tests", "test: $(READY) ## Try it"))


@edit(CLASHING, conflict="the platform changed the same line")
def makefile_line(work: Work) -> None:
    """A line of the Makefile that the platform changes as well."""
    work.blend("Makefile", replaced("\t@rm -rf artifacts/runs ", "\t@rm -rf tmp artifacts/runs "))


@edit(WORKING)
def tool(work: Work) -> None:
    """Another colour in `tools/screen.py`."""
    work.blend("tools/screen.py", replaced("[bold green]→[/]", "[bold blue]→[/]"))


@edit(WORKING)
def runtime(work: Work) -> None:
    """A class in a module of `runtime/`, and a module of their own there."""
    text = '\n\nclass OurError(ProjectError):\n    """Ours."""\n'
    work.blend("runtime/errors.py", appended(text))
    work.write("runtime/ours.py", '"""Ours."""\n')


@edit(WORKING)
def executable(work: Work) -> None:
    """Files of the platform's made executable, one that it changes and one that it does not."""
    work.blend("tools/run.py", executable=True)
    work.blend("tools/get_uv.py", executable=True)


@edit(WORKING)
def dockerfile(work: Work) -> None:
    """A variable in the Dockerfile of a step."""
    line = "    PYTHONUNBUFFERED=1"
    work.blend(
        "steps/train/Dockerfile",
        replaced(f"{line}\n", f"{line} \\\n    OMP_NUM_THREADS=1\n"),
    )


@edit(CLASHING, conflict="the platform changed the same line")
def base_image(work: Work) -> None:
    """Another base image in the Dockerfile of a step."""
    line = b"ARG BASE_IMAGE=example.com/python:3.11"
    work.blend(
        "steps/evaluate/Dockerfile",
        lambda content: re.sub(rb"(?m)^ARG BASE_IMAGE.*", line, content),
    )


@edit(CLASHING, conflict="the platform changed the same lines")
def reformatted_tool(work: Work) -> None:
    """A file of the platform's in another style."""
    path = "tools/project.py"
    # What the platform adds later is in the platform's style.
    restyled = {
        line: line.replace(b'"', b"'")
        for line in (work.project / path).read_bytes().splitlines(keepends=True)
        if b'"""' not in line
    }

    def restyle(content: bytes) -> bytes:
        return b"".join(restyled.get(line, line) for line in content.splitlines(keepends=True))

    work.blend(path, restyle)


@edit(CLASHING, conflict="the platform changed what was taken out")
def emptied(work: Work) -> None:
    """Files of the platform's emptied, one that it changes and one that it does not."""
    work.blend("tools/golden.py", written(""))
    work.blend("runtime/errors.py", written(""))


@edit(WORKING)
def editor(work: Work) -> None:
    """A section of their own in `.editorconfig`, a paragraph in a page of the platform's."""
    work.blend(".editorconfig", appended("\n[*.sql]\nindent_size = 2\n"))
    work.blend("docs/your-own-data.md", appended("\nOurs is in the warehouse.\n"))


@edit(APART)
def deleted_files(work: Work) -> None:
    """Files of the platform's deleted, which it changes or not; all its contracts."""
    work.delete("tools/golden.py")
    work.delete(".editorconfig")
    work.delete("steps/train/Dockerfile")
    work.delete("tests/contracts")


@edit(WORKING, releases=">=0.9")
def lab_page(work: Work) -> None:
    """A paragraph of their own in a lab, and another image for the devcontainer."""
    work.blend("workshop/01-run.md", appended("\nAsk Ada.\n"))
    path = ".devcontainer/devcontainer.json"
    work.edit(path, replaced("devcontainers/python:3.11-bookworm", "devcontainers/base:bookworm"))


@edit(APART, releases=">=0.9")
def workshop_deleted(work: Work) -> None:
    """The workshop deleted, its devcontainer too."""
    work.delete("workshop")
    work.delete(".devcontainer")


@edit(APART)
def renamed_file(work: Work) -> None:
    """A file of the platform's edited and renamed, which it changes."""
    work.move("tools/check.py", "tools/verify.py")
    work.edit("tools/verify.py", appended("# Ours\n"))


@edit(IN_THE_WAY, conflict="the platform changes the file, and there is a link")
def linked_file(work: Work) -> None:
    """A link to a file of their own, in the place of one that the platform changes."""
    work.write("vendor/setup.py", '"""Ours."""\n')
    work.link("tools/setup.py", "../vendor/setup.py")


@edit(IN_THE_WAY, releases="<0.2", conflict="the platform puts a file at the same path")
def tool_before_the_platform(work: Work) -> None:
    """A tool of their own, where the platform put one later."""
    work.blend("tools/report.py", written('"""Ours."""\n'))


# --- Files of every kind --------------------------------------------------------------------------


@edit(WORKING)
def binary(work: Work) -> None:
    """Binary files, one of eight megabytes."""
    work.write("docs/logo.png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    work.write("examples/weights.bin", hashlib.sha512(b"ours").digest() * 2**17)


@edit(WORKING)
def large_file(work: Work) -> None:
    """A table of ten megabytes."""
    work.write("examples/table.csv", b"a,b\n" + b"1.5,text of ours\n" * 600_000)


@edit(WORKING)
def encodings(work: Work) -> None:
    """Files in Latin-1, in UTF-16, and with Windows' line breaks."""
    work.write("examples/latin.csv", "Größe;1\n".encode("latin-1"))
    work.write("examples/wide.csv", "Größe;1\n".encode("utf-16"))
    work.write("examples/windows.bat", "echo ours\r\n")


@edit(WORKING)
def blanks(work: Work) -> None:
    """Blanks at the ends of lines, and no line break at the end of a file."""
    work.write("examples/blanks.txt", "ours \t \n\n\n  ours  ")


@edit(APART)
def file_names(work: Work) -> None:
    """Names with blanks, quotes, accents, brackets, a tab, a line break."""
    names = ("two words", "Größe", "it's", 'a "b"', "[x]", "日本", "-x", "tab\t", "a\nb", "back\\")
    for name in names:
        work.write(f"examples/{name}.md")


@edit(WORKING)
def links(work: Work) -> None:
    """Links: to a file, to nowhere, and one in the place of an owned file."""
    work.link("examples/link.md", "../README.md")
    work.link("examples/nowhere", "/nowhere/at/all")
    work.move("tests/unit/test_features.py", "research/test_features.py")
    work.link("tests/unit/test_features.py", "../../research/test_features.py")


@edit(WORKING)
def script(work: Work) -> None:
    """An executable script."""
    work.write("scripts/ours.sh", "#!/bin/sh\n")
    (work.project / "scripts/ours.sh").chmod(0o755)


@edit(APART)
def golden(work: Work) -> None:
    """What `make setup` made and they committed, by hand mended since."""
    work.write("tests/golden/training.yaml", "ours: 1\n")
    work.write("uv.lock", "version = 1\n")


@edit(WORKING)
def untracked(work: Work) -> None:
    """Files that git ignores: secrets, what runs wrote."""
    work.write(".env", "TOKEN=ours\n")
    work.write("artifacts/ours/model.bin", bytes(1000))


@edit(refused="`make update` wants git to see every change")
def assumed_unchanged(work: Work) -> None:
    """An owned file with changes that git was told not to look at."""
    path = "config/environments/local.yaml"
    git(work.project, "update-index", "--assume-unchanged", path)
    work.edit(path, appended("# Ours\n"))


@edit(conflict="the platform changed files that differ in every line")
def line_breaks(work: Work) -> None:
    """Windows' line breaks in all text, and git told to leave them alone."""

    def windows(content: bytes) -> bytes:
        return content.replace(b"\n", b"\r\n")

    work.blend(".gitattributes", replaced("* text=auto eol=lf\n", "* -text\n"))
    for path in ("README.md", "pyproject.toml", "tools/screen.py"):
        work.blend(path, windows)
    work.edit("config/project.yaml", windows)


# --- Where the project is, and what git is told ---------------------------------------------------


@edit()
def subfolder(work: Work) -> None:
    """A larger repository, of which the project is a folder."""
    whole, moved = work.project, work.project.with_name("moved")
    whole.rename(moved)
    whole.mkdir()
    (moved / ".git").rename(whole / ".git")
    moved.rename(whole / "ml")
    work.project = whole / "ml"
    work.write("../README.md")
    ours(work)


@edit(APART)
def submodule(work: Work) -> None:
    """A submodule."""
    other = work.project.with_name("other")
    other.mkdir()
    git(other, "init", "--quiet")
    git(other, "commit", "--quiet", "--allow-empty", "--message", "Ours")
    add = ("submodule", "--quiet", "add", str(other), "vendor/other")
    git(work.project, "-c", "protocol.file.allow=always", *add)
    work.keep("vendor/other")
    work.keep(".gitmodules")


@edit()
def shallow(work: Work) -> None:
    """A clone without history."""
    ours(work)
    work.commit()
    clone = work.project.with_name("shallow")
    git(work.project, "clone", "--quiet", "--depth=1", work.project.as_uri(), str(clone))
    work.project = clone


@edit()
def worktree(work: Work) -> None:
    """A second worktree of the repository."""
    ours(work)
    work.commit()
    tree = work.project.with_name("worktree")
    git(work.project, "worktree", "add", "--quiet", "-b", "update", str(tree))
    work.project = tree


@edit()
def sparse(work: Work) -> None:
    """A checkout of some folders only."""
    ours(work)
    work.commit()
    git(work.project, "sparse-checkout", "set", "src", "tools", "steps", "docs")


@edit()
def answers_file(work: Work) -> None:
    """The answers in a file of another name."""
    ours(work)
    work.answers_file = ".copier-answers.ml.yml"
    (work.project / ".copier-answers.yml").rename(work.project / work.answers_file)


@edit()
def git_settings(work: Work) -> None:
    """Git told to do everything differently; a hook that refuses every commit."""
    ours(work)
    for key, value in (
        ("color.ui", "always"),
        ("core.autocrlf", "input"),
        ("core.fileMode", "false"),
        ("core.quotePath", "false"),
        ("diff.algorithm", "histogram"),
        ("diff.external", "false"),
        ("diff.mnemonicPrefix", "true"),
        ("diff.noprefix", "true"),
        ("diff.renames", "copies"),
        ("merge.conflictStyle", "diff3"),
        ("status.relativePaths", "true"),
    ):
        git(work.project, "config", key, value)
    work.write(".git/hooks/pre-commit", "#!/bin/sh\nexit 1\n")
    (work.project / ".git/hooks/pre-commit").chmod(0o755)


# --- Answers changed in the same update -----------------------------------------------------------


@edit(ANSWERS, before=HAVING, answers=CHANGING)
def project_renamed(work: Work) -> None:
    """The project renamed in the same update; its README edited."""
    work.blend("README.md", replaced("## Words\n", "## Whom to call\n\nAsk us.\n\n## Words\n"))


@edit(ANSWERS, before=HAVING, answers=CHANGING)
def part_on(work: Work) -> None:
    """A component switched on in the same update; `pyproject.toml` edited."""
    rules = '"RUF", "S", "SIM", "UP"]\n'
    work.blend("pyproject.toml", replaced(rules, f'{rules}ignore = ["N806"]\n'))


@edit(ANSWERS, before=HAVING, answers=CHANGING)
def step_added(work: Work) -> None:
    """A step added in the same update; a core step edited."""
    work.edit("steps/train/component.py", appended("# Ours\n"))


@edit(ANSWERS, before=HAVING, answers=CHANGING)
def step_of_the_answers(work: Work) -> None:
    """A step of the answers edited, one of its files deleted."""
    work.edit("steps/join/component.py", appended("# Ours\n"))
    work.delete("steps/join/apt.txt")


@edit(ANSWERS, before=HAVING, answers=CHANGING)
def step_taken_out(work: Work) -> None:
    """A step taken out of the answers in the same update; its owned files edited."""
    work.edit("steps/clean_text/component.py", appended("# Ours\n"))


@edit(answers={"serving_styles": ["batch"]}, releases=">=0.2")
def part_off(work: Work) -> None:
    """The model server switched off in the same update; its owned files edited."""
    work.edit("serving/predictor.py", appended("# Ours\n"))


# --- Where plain `copier update` fails ------------------------------------------------------------


@edit(releases="<0.2", refused="Copier cannot make the folder, and stops half-way")
def file_where_a_folder_comes(work: Work) -> None:
    """A file called `serving`, where the platform brings a folder."""
    work.write("serving")


@edit(releases="<0.2", refused="Copier cannot write the file, and stops half-way")
def folder_where_a_file_comes(work: Work) -> None:
    """A folder called `tools/report.py`, where the platform brings a file."""
    work.write("tools/report.py/ours.txt")


@edit(refused="Copier cannot read the name, and stops half-way")
def name_in_latin_1(work: Work) -> None:
    """A file whose name is not in UTF-8."""
    work.write(os.fsdecode("Größe.md".encode("latin-1")))


@edit(LIMITS, lost="Copier drops from its patch what is not UTF-8")
def latin_1_in_readme(work: Work) -> None:
    """A line in Latin-1 in the README."""
    work.blend("README.md", lambda content: content + "\nGröße\n".encode("latin-1"))


@edit(LIMITS, lost="git takes the file for binary, and makes no patch of it")
def utf_16_in_gitignore(work: Work) -> None:
    """A line in UTF-16 in `.gitignore`, as PowerShell writes it."""
    work.blend(".gitignore", lambda content: content + "/data/\r\n".encode("utf-16"))


@edit(lost="Copier finds what did not fit by `git status`, which was told to leave it out")
def untracked_hidden(work: Work) -> None:
    """The README edited, and `status.showUntrackedFiles` set to `no`."""
    git(work.project, "config", "status.showUntrackedFiles", "no")
    ours(work)


@edit(lost="git was told to take out blanks at the ends of lines, and does")
def blanks_fixed(work: Work) -> None:
    """Blanks that matter in the README, and `apply.whitespace` set to `fix`."""
    git(work.project, "config", "apply.whitespace", "fix")
    work.blend("README.md", appended("\nOurs  \n"))


@edit(LIMITS, lost="Copier writes through the link")
def docs_linked(work: Work) -> None:
    """A page of the platform's edited; its folder moved, a link in its place."""
    work.blend("docs/your-own-data.md", appended("\nOurs\n"))
    work.blend("docs/files.md", replaced("# Whose file is it?", "# Whose is it?"))
    (work.project / "docs").rename(work.project / "handbook")
    work.link("docs", "handbook")


@edit(releases="<0.3", lost="Copier overwrites it, and git never knew it")
def ignored_file_at_a_new_path(work: Work) -> None:
    """A file that git ignores, where the platform brings one."""
    work.blend(".gitignore", appended("\nbuild.py\n"))
    work.write("tools/build.py", "# Ours\n")


@edit(lost="Copier overwrites them, and git never knew them")
def assumed_unchanged_readme(work: Work) -> None:
    """Changes of the README that git was told not to look at."""
    git(work.project, "update-index", "--assume-unchanged", "README.md")
    work.blend("README.md", appended("\nOurs\n"))


@edit(
    releases=">=0.2",
    answers={"serving_styles": ["batch"]},
    lost="it goes with the part; git shows it as deleted",
)
def edited_part_off(work: Work) -> None:
    """A file of the platform's edited, and the part that it belongs to switched off."""
    work.blend("serving/Dockerfile", appended("# Ours\n"))
