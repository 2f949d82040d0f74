"""A tag covers what its image holds: that and nothing else."""

import shutil
from pathlib import Path

import pytest
import yaml

from runtime.errors import ProjectError
from tools import images, imports
from tools.project import ROOT, project

IGNORED = shutil.ignore_patterns(
    ".git", ".venv", ".uv", "artifacts", "__pycache__", ".*_cache", ".import_linter_cache"
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project in another place, with other file times."""
    target = tmp_path / "elsewhere"
    shutil.copytree(ROOT, target, symlinks=True, ignore=IGNORED, copy_function=shutil.copy)
    return target


def changed(tags: dict[str, str], root: Path) -> set[str]:
    """The images whose tag is now another one."""
    project.cache_clear()
    imports.graph.cache_clear()
    images.tag.cache_clear()
    return {name for name, tag in tags.items() if images.tag(name, root) != tag}


@pytest.fixture(scope="module")
def tags() -> dict[str, str]:
    return {name: images.tag(name) for name in images.names()}


def importers(module: str) -> set[str]:
    """The images that hold a file."""
    return {name for name in images.names() if module in images.context(name)}


def folder(name: str) -> str:
    """Where the files of an image are."""
    return images.home(name)[0]


def dockerfile(name: str) -> str:
    """Where an image's Dockerfile is, which is at the top of its build context."""
    return f"{folder(name)}/Dockerfile"


def configure(root: Path, **changes: object) -> None:
    """Change the section `images` of config/project.yaml."""
    path = root / "config" / "project.yaml"
    config = yaml.safe_load(path.read_text())
    config["images"] = {**(config.get("images") or {}), **changes}
    path.write_text(yaml.safe_dump(config))


def test_place_and_times_do_not_count(tags: dict[str, str], copy: Path) -> None:
    assert changed(tags, copy) == set()


def test_tests_notebooks_and_documents_do_not_count(tags: dict[str, str], copy: Path) -> None:
    (copy / "README.md").write_text("other")
    for name in tags:
        (copy / folder(name) / f"test_{name}.py").write_text("")
    (copy / "pipelines" / "training.py").write_text("")
    assert changed(tags, copy) == set()


def test_science_changes_the_images_that_import_it(tags: dict[str, str], copy: Path) -> None:
    for path in sorted((ROOT / "src" / project().package).glob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        expected = importers(name)
        original = path.read_bytes()
        (copy / name).write_bytes(original + b"# changed\n")
        assert changed(tags, copy) == expected, name
        (copy / name).write_bytes(original)


def test_the_files_of_an_image_change_that_image_alone(tags: dict[str, str], copy: Path) -> None:
    for name in tags:
        own = [path for path in images.context(name) if path.startswith(f"{folder(name)}/")]
        for path in [dockerfile(name), *own]:
            original = (copy / path).read_bytes()
            (copy / path).write_bytes(original + b"# changed\n")
            assert changed(tags, copy) == {name}, path
            (copy / path).write_bytes(original)


def test_a_missing_dockerfile_is_named(tags: dict[str, str], copy: Path) -> None:
    for name in tags:
        (copy / dockerfile(name)).unlink()
        with pytest.raises(ProjectError, match=f"{dockerfile(name)} is missing"):
            images.tag(name, copy)


def test_no_system_packages_is_no_error(tags: dict[str, str], copy: Path) -> None:
    for name in tags.keys() - {images.PAYLOADS}:
        apt = f"{folder(name)}/apt.txt"
        (copy / apt).unlink()
        assert images.context(name, copy)[apt].content == b""


def test_an_executable_bit_counts(tags: dict[str, str], copy: Path) -> None:
    step = sorted(tags)[0]
    path = copy / folder(step) / "apt.txt"
    path.chmod(path.stat().st_mode | 0o111)
    assert changed(tags, copy) == {step}


def test_epoch_and_platform_change_every_tag(tags: dict[str, str], copy: Path) -> None:
    settings = project().images
    configure(copy, epoch=settings.epoch + 1)
    assert changed(tags, copy) == set(tags)
    configure(copy, epoch=settings.epoch, platform=f"{settings.platform}/other")
    assert changed(tags, copy) == set(tags)
    configure(copy, platform=settings.platform)
    assert changed(tags, copy) == set()


def test_another_base_changes_the_images_that_start_from_it(
    tags: dict[str, str], copy: Path
) -> None:
    settings = project().images
    for name in tags:
        configure(copy, base_images={**settings.base_images, name: "mirror.example.com/python"})
        assert changed(tags, copy) == {name}
    configure(copy, base_images=settings.base_images, base_image="mirror.example.com/python")
    assert changed(tags, copy) == set(tags) - set(settings.base_images)


def test_who_may_push_changes_no_tag(tags: dict[str, str], copy: Path) -> None:
    configure(copy, push_outside_ci=not project().images.push_outside_ci)
    assert changed(tags, copy) == set()
