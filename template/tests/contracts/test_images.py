"""A tag covers what its image holds: that and nothing else."""

import shutil
from pathlib import Path

import pytest

from tools import images
from tools.project import ROOT, project

IGNORED = shutil.ignore_patterns(
    ".git", ".venv", ".uv", "artifacts", "__pycache__", ".*_cache", ".import_linter_cache"
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project in another place, with other file times."""
    target = tmp_path / "elsewhere"
    shutil.copytree(ROOT, target, ignore=IGNORED, copy_function=shutil.copy)
    return target


def changed(step_tags: dict[str, str], root: Path) -> set[str]:
    """The steps whose tag is now another one."""
    project.cache_clear()
    images.forget()
    return {step for step, tag in step_tags.items() if images.tag(step, root) != tag}


@pytest.fixture(scope="module")
def tags() -> dict[str, str]:
    return {step: images.tag(step) for step in project().steps}


def importers(module: str) -> set[str]:
    """The steps whose image holds a file."""
    return {step for step in project().steps if module in images.context(step)}


def test_place_and_times_do_not_count(tags: dict[str, str], copy: Path) -> None:
    assert changed(tags, copy) == set()


def test_tests_notebooks_and_documents_do_not_count(tags: dict[str, str], copy: Path) -> None:
    (copy / "README.md").write_text("other")
    for step in tags:
        (copy / "steps" / step / f"test_{step}.py").write_text("")
    (copy / "pipelines" / "training.py").write_text("")
    assert changed(tags, copy) == set()


def test_science_changes_the_steps_that_import_it(tags: dict[str, str], copy: Path) -> None:
    for path in sorted((ROOT / "src" / project().package).glob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        expected = importers(name)
        original = path.read_bytes()
        (copy / name).write_bytes(original + b"# changed\n")
        assert changed(tags, copy) == expected, name
        (copy / name).write_bytes(original)


def test_the_files_of_a_step_change_that_step_alone(tags: dict[str, str], copy: Path) -> None:
    for step in tags:
        for name in ("Dockerfile", "apt.txt", "component.py", "settings.py"):
            path = copy / "steps" / step / name
            original = path.read_bytes()
            path.write_bytes(original + b"# changed\n")
            assert changed(tags, copy) == {step}, f"{step}/{name}"
            path.write_bytes(original)


def test_an_executable_bit_counts(tags: dict[str, str], copy: Path) -> None:
    step = sorted(tags)[0]
    path = copy / "steps" / step / "apt.txt"
    path.chmod(path.stat().st_mode | 0o111)
    assert changed(tags, copy) == {step}


def test_the_epoch_changes_every_tag(tags: dict[str, str], copy: Path) -> None:
    path = copy / "config" / "project.yaml"
    epoch = project().images.epoch
    text = path.read_text()
    assert f"epoch: {epoch}" in text
    path.write_text(text.replace(f"epoch: {epoch}", f"epoch: {epoch + 1}"))
    assert changed(tags, copy) == set(tags)
