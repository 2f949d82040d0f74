"""Every file has one owner, and an update respects it: tried on the next releases of this one."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, Project, Questions, Template, commit, git
from copier import VcsRef
from pathspec import GitIgnoreSpec

SETTINGS: dict[str, Any] = yaml.safe_load((ROOT / "questions/90-files.yml").read_text())
ROWS: list[dict[str, Any]] = SETTINGS["files"]["default"]
CURRENT = VcsRef.CURRENT


def matcher(row: dict[str, Any]) -> GitIgnoreSpec:
    """Read a row's path as gitignore would."""
    return GitIgnoreSpec.from_lines([row["path"].replace("{step}", "*")])


def generated(project: Path) -> set[str]:
    """List a project's files."""
    found = {path.relative_to(project) for path in project.rglob("*") if path.is_file()}
    return {path.as_posix() for path in found if path.parts[0] != ".git"}


def owned(project: Path) -> set[str]:
    """List a project's owned files."""
    spec = GitIgnoreSpec.from_lines(
        row["path"].replace("{step}", "*") for row in ROWS if row["class"] == "owned"
    )
    return {path for path in generated(project) if spec.match_file(path)}


def test_every_file_has_one_owner(default_project: Path) -> None:
    """Each generated file is in exactly one class."""
    for path in generated(default_project):
        classes = {row["class"] for row in ROWS if matcher(row).match_file(path)}
        assert len(classes) == 1, f"{path}: {sorted(classes) or 'no row in 90-files.yml'}"


def test_every_row_has_a_file(template: Template, tmp_path: Path) -> None:
    """No row is left over or misspelled; none is there twice."""
    answers = {
        "cloud_targets": ["gcp", "aws"],
        "kubeflow_components": [
            "pipelines",
            "serving",
            "training",
            "tuning",
            "monitoring",
            "mlflow",
        ],
        "model_framework": "xgboost",
        "serving_mode": "Knative",
    }
    project = template.render(tmp_path / "project", **answers)
    files = generated(project)
    for row in ROWS:
        assert any(matcher(row).match_file(path) for path in files), row["path"]
    paths = [row["path"] for row in ROWS]
    assert len(set(paths)) == len(paths)


def test_what_a_team_changes_is_not_managed(default_project: Path) -> None:
    """The page that says where to make a change names the team's files, or shared ones."""
    page = (default_project / "docs/files.md").read_text("utf-8")
    (section,) = re.findall(r"^## What teams change.*?(?=^## )", page, re.MULTILINE | re.DOTALL)
    written = re.findall(r"`([\w.<>-]+(?:/[\w.<>-]*)+|[\w-]*\.[a-z]+)`", section)
    files = generated(default_project)
    managed = [matcher(row) for row in ROWS if row["class"] == "managed"]
    assert len(set(written)) > 7
    for path in written:
        pattern = GitIgnoreSpec.from_lines([f"/{re.sub('<.*?>', '*', path)}"])
        found = [file for file in files if pattern.match_file(file)]
        assert found, path
        assert not [file for file in found if any(spec.match_file(file) for spec in managed)]


def test_rows_are_well_formed() -> None:
    """Anchored paths, known classes, the release; for a managed file what to do instead."""
    for row in ROWS:
        assert row["path"].startswith("/"), row
        assert row["class"] in {"managed", "shared", "owned"}, row
        # A company's own release has four numbers.
        assert len(row["since"]) in (3, 4), row
        assert all(isinstance(part, int) for part in row["since"]), row
        assert bool(row.get("extend")) == (row["class"] == "managed"), row
        assert row["class"] == "managed" or not row["path"].endswith("/"), f"{row}: name the file"


def test_steps_folders_are_complete() -> None:
    """A file that is added to a step's folder would recreate folders that teams have deleted."""
    late = [row for row in ROWS if "{step}" in row["path"] and row["since"] != [0, 1, 0]]
    assert not late


def test_skipped_files_are_the_owned_ones() -> None:
    """The two lists of owned files are equal."""
    rows = [row["path"].replace("{step}", "*") for row in ROWS if row["class"] == "owned"]
    assert SETTINGS["_skip_if_exists"] == rows


def test_nothing_needs_trust(template: Template) -> None:
    """No tasks, extensions or migrations, in any file that Copier reads; no other settings."""
    settings: dict[str, Any] = {}
    for name in re.findall(r"^!include (.+)$", (template.path / "copier.yml").read_text(), re.M):
        for document in yaml.safe_load_all((template.path / name).read_text()):
            assert not settings.keys() & document.keys(), "a later document would hide an earlier"
            settings.update(document)
    assert {name for name in settings if name.startswith("_")} == {
        "_min_copier_version",
        "_subdirectory",
        "_templates_suffix",
        "_envops",
        "_external_data",
        "_exclude",
        "_skip_if_exists",
        "_message_after_copy",
        "_message_after_update",
    }


def test_table_of_contents() -> None:
    """Every file of questions is included, in order, and by name: a glob comes in any order."""
    lines = (ROOT / "copier.yml").read_text().splitlines()
    included = [line.split()[1] for line in lines if line.startswith("!include")]
    assert included == sorted(f"questions/{path.name}" for path in (ROOT / "questions").iterdir())
    assert all(line.startswith(("!include questions/", "---", "#")) for line in lines)


def next_release(draft: Template, version: str, owned_file: str = "") -> None:
    """Change every file of the template, add one of each class, and release that.

    Only comments change, so that what is generated stays what it was.
    """
    table = draft.path / "questions" / "90-files.yml"
    text = table.read_text()
    if owned_file:
        since = [int(part) for part in version.split(".")]
        row = f"    - {{class: owned, path: /{owned_file}, since: {since}}}\n"
        text = text.replace("  default:\n", f"  default:\n{row}", 1)
        text = text.replace("_skip_if_exists:\n", f"_skip_if_exists:\n  - /{owned_file}\n", 1)
        table.write_text(text)
        (draft.path / "template" / owned_file).write_text("# An owned file\n")
    tool = f"new_in_{version.removesuffix('.0.0')}.py"
    (draft.path / "template" / "tools" / tool).write_text("X = 1\n")
    for file in (draft.path / "template").rglob("*"):
        if file.is_file() and not file.name.endswith(("answers_file }}.jinja", ".ipynb")):
            file.write_bytes(f"# Since {version}\n".encode() + file.read_bytes())
    commit(draft.path, f"Release {version}", tag=version)


def test_updates(draft: Template, tmp_path: Path) -> None:
    """Two updates of a project whose team has edited, deleted and added files."""
    project = draft.project(tmp_path / "project")
    deleted, edited = "config/project.yaml", "src/my_model/features.py"
    git(project.path, "rm", "--quiet", deleted, "notebooks/01-explore.ipynb", ".editorconfig")
    project.append(edited, "# Mine")
    project.append("README.md", "Ours")
    (project.path / "src/my_model/images.py").write_text("# A new file of the team\n")
    commit(project.path, "The team's work")
    before = {path: project.read(path) for path in owned(project.path)}

    next_release(draft, "1000.0.0", owned_file="config/late.yaml")
    status = project.update()
    # Nothing conflicts, and nothing but the platform's files changes; the late file arrives.
    assert not [line for line in status if line[:2] not in {" M", "??"}]
    assert {path: project.read(path) for path in before} == before
    assert "?? config/late.yaml" in status
    assert "?? tools/new_in_1000.py" in status
    assert owned(project.path) == set(before)
    assert not (project.path / ".editorconfig").exists()
    assert project.read("Makefile").startswith("# Since 1000.0.0\n")
    assert project.read("steps/train/Dockerfile").startswith("# Since 1000.0.0\n")
    # A shared file has both sides.
    assert project.read("README.md").startswith("# Since 1000.0.0\n")
    assert project.read("README.md").endswith("Ours\n")
    commit(project.path, "Update")

    git(project.path, "rm", "--quiet", "config/late.yaml")
    project.append("pipelines/training.py", "# Mine")
    commit(project.path, "The team deletes the late file")
    next_release(draft, "1001.0.0")
    before = {path: project.read(path) for path in owned(project.path)}
    status = project.update()
    assert not [line for line in status if line[:2] not in {" M", "??"}]
    assert {path: project.read(path) for path in before} == before
    assert not (project.path / "config/late.yaml").exists()
    assert owned(project.path) == set(before)
    assert "?? tools/new_in_1001.py" in status
    commit(project.path, "Update again")
    assert project.update() == [], "an update to the same release changes nothing"


def test_extra_steps(draft: Template, tmp_path: Path) -> None:
    """A step comes with all its files, once; leaving the answers it loses only the platform's."""
    project = draft.project(tmp_path / "project")
    seeds = {"apt.txt", "component.py", "pyproject.toml", "settings.py"}

    def arriving(step: str) -> set[str]:
        names = seeds | {"Dockerfile", f"test_{step}.py"}
        return {f"?? steps/{step}/{name}" for name in names}

    answers = " M .copier-answers.yml"
    assert set(project.update(CURRENT, extra_steps=["tune"])) == {answers, *arriving("tune")}
    core = {path.name for path in (project.path / "steps/validate").iterdir()}
    assert core == {*seeds, "Dockerfile", "test_validate.py"}
    commit(project.path, "make step NAME=tune")

    project.append("steps/tune/component.py", "# Mine")
    git(project.path, "rm", "--quiet", "steps/tune/settings.py")
    git(project.path, "rm", "--quiet", "-r", "steps/validate")
    commit(project.path, "The team's work")
    status = set(project.update(CURRENT, extra_steps=["tune", "tidy"]))
    assert status == {answers, *arriving("tidy")}
    commit(project.path, "make step NAME=tidy")

    next_release(draft, "1000.0.0")
    status = set(project.update())
    changed = {line for line in status if " steps/" in line}
    core = {"ingest", "train", "evaluate", "register", "monitor", "partition", "predict"}
    assert changed == {f" M steps/{step}/Dockerfile" for step in core | {"tune", "tidy"}}
    commit(project.path, "Update")

    status = set(project.update(CURRENT, extra_steps=["tidy"]))
    assert status == {answers, " D steps/tune/Dockerfile"}
    assert project.read("steps/tune/component.py").endswith("# Mine\n")


def test_a_part_is_switched_on_and_off(draft: Template, tmp_path: Path) -> None:
    """Its files come when it is chosen, and of them only the platform's go when it is not."""
    rows = "".join(
        f"    - {{class: {name}, path: /{path}, since: [0, 1, 0], when: mlflow{extend}}}\n"
        for name, path, extend in (
            ("owned", "config/part.yaml", ""),
            ("managed", "part.md", ", extend: x"),
        )
    )
    table = draft.path / "questions" / "90-files.yml"
    table.write_text(table.read_text().replace("  default:\n", f"  default:\n{rows}", 1))
    text = table.read_text().replace("_exists:\n", "_exists:\n  - /config/part.yaml\n", 1)
    table.write_text(text)
    for path in ("config/part.yaml", "part.md"):
        (draft.path / "template" / path).write_text("# Of a part\n")
    commit(draft.path, tag="1000.0.0")

    project = draft.project(tmp_path / "project")
    assert not (project.path / "part.md").exists()
    on = project.update(CURRENT, kubeflow_components=["pipelines", "mlflow"])
    assert {"?? config/part.yaml", "?? part.md"} <= set(on)
    commit(project.path, "On")
    git(project.path, "rm", "--quiet", "config/part.yaml")
    commit(project.path, "The team deletes its file")
    assert project.update(CURRENT) == [], "what was deleted stays deleted"
    git(project.path, "revert", "--no-edit", "HEAD")
    project.append("config/part.yaml", "# Mine")
    commit(project.path, "The team changes its file")
    off = project.update(CURRENT, kubeflow_components=["pipelines"])
    assert " D part.md" in off
    assert project.read("config/part.yaml").endswith("# Mine\n")


def test_a_project_in_a_subfolder(draft: Template, tmp_path: Path) -> None:
    """A project in a larger repository, with an answers file of another name, updates the same."""
    draft.render(tmp_path / "mono" / "ml")
    (tmp_path / "mono/ml/.copier-answers.yml").rename(tmp_path / "mono/ml/.copier-answers.ml.yml")
    git(tmp_path / "mono", "init", "--quiet")
    project = Project(tmp_path / "mono" / "ml")
    (project.path / "config/project.yaml").unlink()
    commit(project.path)
    next_release(draft, "1000.0.0", owned_file="config/late.yaml")
    status = project.update(answers_file=".copier-answers.ml.yml")
    assert "?? config/late.yaml" in [line.replace("ml/", "", 1) for line in status]
    assert not (project.path / "config/project.yaml").exists()


@pytest.mark.parametrize("release", ["0.1.0", "v0.1.0", "0.1.0-3-g0abcdef", "0.1.0rc1", "0.1"])
def test_releases_are_understood(questions: Questions, release: str) -> None:
    """What a project's `_commit` may say: a file of 0.1.0 is there already, one of 0.2.0 is not."""
    rows = [
        {"class": "owned", "path": "/old", "since": [0, 1, 0]},
        {"class": "owned", "path": "/steps/{step}/x", "since": [0, 1, 0]},
        {"class": "owned", "path": "/late", "since": [0, 2, 0]},
        {"class": "managed", "path": "/theirs", "since": [0, 1, 0]},
    ]

    def excluded(previous: dict[str, Any], operation: str = "update") -> list[str]:
        context = {
            "files": rows,
            "core_steps": ["train"],
            "_copier_operation": operation,
            "_external_data": {"previous": previous},
        }
        return str(questions.jinja.from_string(SETTINGS["_exclude"][-1]).render(context)).split()

    steps = ["/steps/train/x", "/steps/tune/x"]
    previous = {"_commit": release, "extra_steps": ["tune"]}
    assert excluded(previous) == ["/old", *steps]
    assert excluded({"_commit": "0.10.0"}) == ["/old", "/steps/train/x", "/late"]
    # Scratch copies have no previous answers, and no owned files; a copy has all.
    assert excluded({}) == ["/old", "/steps/*/x", "/late"]
    assert excluded(previous, "copy") == []


def test_an_old_release_without_these_names(questions: Questions) -> None:
    """An update renders the old release's scratch copy with this text and its own questions."""
    context = {"_copier_operation": "update", "_external_data": {"previous": {}}}
    for text in SETTINGS["_exclude"]:
        questions.jinja.from_string(text).render(context)
    for text in SETTINGS["_skip_if_exists"]:
        assert questions.jinja.from_string(text).render() == text
