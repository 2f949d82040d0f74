"""What the documents say holds: their commands run, in that order, and their tables are current."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, Template, commit, git
from projects import Generated, machine

from scripts import ledger, reference
from scripts.render import answers, names
from scripts.trials import HIGH, Trials

BLOCK = re.compile(r"^[ >]*```sh\n(?P<commands>.*?)^[ >]*```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?P<target>[^)#:]+)(?:#[^)]*)?\)")
PAGES = [
    path for path in ROOT.rglob("*.md") if not {".site", ".venv", "template"} & set(path.parts)
]

# Pages of a project, or of a folder of it, whose commands a test reads there, and types.
READ_BY = {
    "docs/ci.md": "test_against",
    "docs/cluster-": "test_infra_aws",
    "docs/images.md": "test_images",
    "docs/releases.md": "test_releases",
    "docs/serving.md": "test_overlays",
    "docs/several-nodes.md": "test_docs",
    "docs/tuning.md": "test_docs",
    "workshop/0": "test_workshop",
    "workshop/1": "test_workshop",
    "workshop/instructor/without-wifi.md": "test_workshop",
}
# Commands of all other pages, and the test that types them.
TYPED_BY = {
    "make check test": "test_projects",
    "make check test run": "test_projects",
    "make compare SOURCE=mlflow": "test_tracking",
    "make drift-demo": "test_monitoring",
    "make golden": "test_runs",
    "make images": "test_images",
    "make images ENV=dev PUSH=1": "test_images",
    "make mlflow": "test_tracking",
    "make payloads": "test_payloads",
    'make payloads FORGET="3f2a… 77b0…"': "test_payloads",
    "make predict": "test_serving",
    "make release": "test_projects",
    "make report": "test_report",
    "make run": "test_projects",
    "make run PIPELINE=batch_prediction": "test_batch",
    "make run PIPELINE=monitoring": "test_monitoring",
    "make run RUNNER=docker": "test_docker_runner",
    "make serve": "test_serving",
    "make serve PAYLOADS=http://127.0.0.1:8090": "test_payloads",
    "make setup": "test_projects",
    "make setup check test": "test_projects",
    "make setup workshop-setup": "test_workshop",
    "make skew": "test_skew",
    "make step NAME=clean_text": "test_steps",
    "make update": "test_make_update",
    "make update PREVIEW=1": "test_make_update",
    "make workshop": "test_workshop",
    "make workshop LAB=1": "test_workshop",
    "make workshop-board": "test_workshop",
    "make workshop-check LAB=1": "test_workshop",
    "make workshop-reset LAB=1": "test_workshop",
    "make workshop-setup": "test_workshop",
    # Its objects are put before an API server.
    "kubectl apply -k platform/monitoring --namespace kubeflow": "test_alerts",
    # With an address that only a reader knows.
    "git clone <the repository> workshop-project": "test_workshop",
    "cd workshop-project": "test_workshop",
}


def commands(page: Path) -> str:
    """Return what a page tells its reader to type. A person answers the prompts; here, Enter."""
    text = "\n".join(match["commands"] for match in BLOCK.finditer(page.read_text("utf-8")))
    assert text, page
    return text.replace("uvx copier copy", "copier copy --defaults")


def follow(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Type what a page says, and stop at the first command that fails."""
    environment = machine()
    path = subprocess.check_output(["bash", "-c", "dirname $(command -v copier)"], text=True)
    environment = {**environment, "PATH": f"{environment['PATH']}:{path.strip()}"}
    return subprocess.run(
        ["bash", "-euxc", commands(page)],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.mark.parametrize("name", reference.PAGES)
def test_reference_is_current(name: str) -> None:
    assert (ROOT / reference.FOLDER / name).read_text("utf-8") == reference.PAGES[name](), (
        "run make reference"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for match in LINK.finditer(page.read_text("utf-8")):
        assert (page.parent / match["target"]).exists(), match["target"]


def test_links_of_a_project_lead_somewhere(default_project: Path) -> None:
    for page in default_project.rglob("*.md"):
        for match in LINK.finditer(page.read_text("utf-8")):
            assert (page.parent / match["target"]).exists(), f"{page.name}: {match['target']}"


def test_the_commands_of_a_project_are_typed(template: Template, tmp_path: Path) -> None:
    """Whatever a page of a project tells to type, a test types; a new one has to say which."""
    seen: dict[str, str] = {}
    for flavour in names():
        project = template.render(tmp_path / flavour, **answers(flavour))
        for page in sorted(project.rglob("*.md")):
            name = page.relative_to(project).as_posix()
            blocks = BLOCK.finditer(page.read_text("utf-8"))
            for line in "".join(block["commands"] for block in blocks).splitlines():
                command = re.split(r"\s#\s", line.strip("> "))[0].strip()
                if command and not name.startswith(tuple(READ_BY)):
                    seen[command] = name
    assert {command: name for command, name in seen.items() if command not in TYPED_BY} == {}
    assert TYPED_BY.keys() - seen.keys() == set()
    tests = {path.stem for path in (ROOT / "tests").glob("test_*.py")}
    assert {*READ_BY.values(), *TYPED_BY.values()} <= tests


@pytest.mark.project
@pytest.mark.xdist_group("tutorial")
def test_tutorial(draft: Template) -> None:
    done = follow(ROOT / "docs/tutorials/first-model.md", draft.path)
    assert done.returncode == 0, done.stdout + done.stderr
    project = draft.path.parent / "my-model"
    assert git(project, "status", "--porcelain") == ""
    assert len(list(project.glob("artifacts/models/*/record.json"))) == 1
    Generated(project).make("update-check").succeeded()


@pytest.mark.project
@pytest.mark.xdist_group("tutorial")
def test_update_of_a_project(draft: Template, tmp_path: Path) -> None:
    project = draft.project(tmp_path / "project")
    Generated(project.path).make("setup").succeeded()
    commit(project.path)
    (draft.path / "template/docs/new.md").write_text("New\n", encoding="utf-8")
    commit(draft.path, tag="1000.0.0")
    done = follow(ROOT / "docs/how-to/update-a-project.md", project.path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project.path / "docs/new.md").exists()
    assert "project_owner: our-team" in project.read(".copier-answers.yml")
    assert (project.path / "steps/clean_text/Dockerfile").exists()


@pytest.mark.project
@pytest.mark.xdist_group("tutorial")
def test_monorepo_without_the_internet(draft: Template, tmp_path: Path) -> None:
    """A project in a folder of a larger repository, which runs when nothing can be fetched."""
    draft.path.rename(tmp_path / "copier-kubeflow")
    models = tmp_path / "models"
    models.mkdir()
    git(models, "init", "--quiet")
    done = follow(ROOT / "docs/how-to/monorepo.md", models)
    assert done.returncode == 0, done.stdout + done.stderr
    done = follow(ROOT / "docs/how-to/air-gapped.md", models / "fraud")
    assert done.returncode == 0, done.stdout + done.stderr
    assert Generated(models / "fraud").last_run["state"] == "succeeded"
    Generated(models / "fraud").make("update-check").succeeded()
    assert git(models, "status", "--porcelain") == ""


@pytest.mark.updates
def test_update_of_a_fleet(draft: Template, tmp_path: Path) -> None:
    """The newest release is this checkout, and both projects come from the oldest."""
    ledger.tag_releases(draft.path)
    head = git(draft.path, "rev-parse", "HEAD").strip()
    ledger.append(draft.path, ledger.Release(HIGH, head, "2027-01-01"))
    commit(draft.path)
    prices = Path(shutil.copytree(Trials(draft.path, tmp_path).made("0.1.0", {}), tmp_path / "p"))
    git(tmp_path, "clone", "--quiet", "--bare", str(prices), "churn.git")
    (tmp_path / "fleet.txt").write_text(f"{(tmp_path / 'churn.git').as_uri()}\np\n")
    done = follow(ROOT / "docs/how-to/update-a-fleet.md", draft.path)
    assert done.returncode == 0, done.stdout + done.stderr
    for project, branch in ((prices, "HEAD"), (tmp_path / "churn.git", f"update-{HIGH}")):
        assert f"_commit: {HIGH}" in git(project, "show", f"{branch}:.copier-answers.yml")


def test_what_an_older_project_adds(template: Template, tmp_path: Path) -> None:
    """By hand it writes what a new project is given."""
    answers = {"model_framework": "xgboost", "kubeflow_components": ["pipelines", "training"]}
    project = template.render(tmp_path / "project", **answers)
    page = (project / "docs/several-nodes.md").read_text("utf-8")
    component = (project / "steps/train/component.py").read_text("utf-8")
    block = page.partition("```python\n")[2].partition("```")[0]
    assert all(line.strip() in component for line in block.splitlines())
    others = {
        "steps/train/settings.py": "nodes: int = Field(default=1, ge=1, exclude=True)",
        "steps/train/pyproject.toml": '"runtime[kubernetes,s3]"',
        "config/project.yaml": "nodes: 1",
    }
    for path, text in others.items():
        assert f"`{text}`" in page
        assert text in (project / path).read_text("utf-8")


def test_what_an_older_project_adds_to_search(template: Template, tmp_path: Path) -> None:
    """The same of docs/tuning.md; tests/test_tuning.py writes it, and searches."""
    answers = {"kubeflow_components": ["pipelines", "tuning"]}
    project = template.render(tmp_path / "project", **answers)
    page = (project / "docs/tuning.md").read_text("utf-8")
    kind, search = (each.partition("```")[0] for each in page.split("```python\n")[1:])
    blocks = {"steps/train/settings.py": kind, "steps/train/component.py": search}
    for path, block in blocks.items():
        text = (project / path).read_text("utf-8")
        assert all(line.strip() in text for line in block.splitlines()), path
    others = {
        "steps/train/component.py": ["study: Output[Artifact]"],
        "steps/train/test_train.py": ['Artifact(name="study", uri=str(tmp_path / "study"))'],
        "steps/train/pyproject.toml": ['"optuna>=4.5"', '"runtime[s3]"'],
        "config/project.yaml": ["trials: 0", "search_minutes: 10"],
    }
    for path, texts in others.items():
        for text in texts:
            assert f"`{text}`" in page, text
            assert text in (project / path).read_text("utf-8"), text


def test_defaults_of_a_company(
    draft: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/how-to/company-defaults.md").read_text("utf-8")
    settings = tmp_path / "settings.yml"
    settings.write_text(page.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(settings))
    project = draft.project(tmp_path / "project")
    assert "project_owner: acme" in project.read(".copier-answers.yml")
    assert "model_framework: xgboost" in project.read(".copier-answers.yml")


def test_a_companys_fork(draft: Template, tmp_path: Path) -> None:
    """Both releases of the fork generate its defaults; a project that was ours moves to it."""
    ledger.tag_releases(draft.path)
    if "0.4.0" not in git(draft.path, "tag").split():
        git(draft.path, "tag", "0.4.0", "HEAD")
    project = draft.project(tmp_path / "project", ref="0.3.0")
    project.append("config/environments/dev.yaml", "# Ours")
    fork = tmp_path / "fork"
    git(tmp_path, "clone", "--quiet", str(draft.path), str(fork))
    done = follow(ROOT / "docs/how-to/company-defaults.md", fork)
    assert done.returncode == 0, done.stdout + done.stderr
    for release in ("0.3.0.1", "0.4.0.1"):
        made = Template(fork).render(tmp_path / release, ref=release)
        assert "cpu: 250m" in (made / "config/environments/dev.yaml").read_text("utf-8")
    answers = project.read(".copier-answers.yml").replace(str(draft.path), str(fork))
    (project.path / ".copier-answers.yml").write_text(answers, encoding="utf-8")
    commit(project.path, "The template has moved")
    project.update(ref="0.4.0.1")
    assert "_commit: 0.4.0.1" in project.read(".copier-answers.yml")
    assert "cpu: 500m" in project.read("config/environments/dev.yaml")
    assert (project.path / "tools/update.py").exists()
