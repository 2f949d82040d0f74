"""Lab 9: the platform moves on: an update arrives, and your work stays.

The next release is made here: the template as this project has it, and one change of the platform.
Its update is the real one.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import ProjectError
from tools import template
from tools.labs import past
from tools.labs.lab import MATERIAL, NOBODY, Finding, Scope
from tools.project import ROOT
from tools.template import git

TEMPLATE = MATERIAL / "template"
DOCKERFILES = "*/Dockerfile.jinja"
CHANGE = """
# Says where it was when a step dies in code that is not Python's.
ENV PYTHONFAULTHANDLER=1
"""
NEWS = """
## [{version}]

### Added

- Every step's image says where it was when it dies in code that is not Python's. This release is
  the workshop's own.
"""
# Nor is it anybody's to sign.
UNSIGNED = ("-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false")
OWNED = ("src", "pipelines", "config", "steps", "serving/predictor.py", "project.mk")
PLATFORMS = ":(exclude)steps/*/Dockerfile"


def prepare() -> str:
    """Make a template with a release more than the one this project was made from."""
    made_from = template.origin()
    if not is_there(made_from):
        make(made_from)
    return (
        f"{TEMPLATE.relative_to(ROOT)} is a copy of the template, with the release "
        f"{newest()}, which only this lab has."
    )


def is_here(made_from: template.Origin) -> bool:
    """Whether the project says that it comes from the workshop's template."""
    return (ROOT / made_from.source).resolve() == TEMPLATE.resolve()


def is_there(made_from: template.Origin) -> bool:
    """Whether the workshop's template was made for the release that the project has."""
    if is_here(made_from):
        return True
    try:
        return git("rev-parse", "--quiet", "--verify", made_from.version, cwd=TEMPLATE) != ""
    except (ProjectError, OSError):
        return False


def make(made_from: template.Origin) -> None:
    """Clone the template, change the platform, and release that."""
    repository = template.repository(made_from)
    shutil.rmtree(TEMPLATE, ignore_errors=True)
    TEMPLATE.parent.mkdir(parents=True, exist_ok=True)
    git("clone", "--quiet", "--no-checkout", "--no-tags", str(repository), str(TEMPLATE))
    commit = git("rev-parse", f"{made_from.version}^{{commit}}", cwd=repository).strip()
    git("checkout", "--quiet", "-B", "workshop", commit, cwd=TEMPLATE)
    git(*UNSIGNED, "tag", made_from.version, cwd=TEMPLATE)
    version = following(made_from.version)
    for file in Path(TEMPLATE, "template", "steps").glob(DOCKERFILES):
        with file.open("a", encoding="utf-8") as dockerfile:
            dockerfile.write(CHANGE)
    log = TEMPLATE / "CHANGELOG.md"
    if log.exists():
        head, mark, rest = log.read_text("utf-8").partition("\n## ")
        log.write_text(head + NEWS.format(version=version) + mark + rest, encoding="utf-8")
    git(
        *NOBODY, *UNSIGNED, "commit", "--quiet", "--no-verify", "--all", "-m", version, cwd=TEMPLATE
    )
    git(*UNSIGNED, "tag", version, cwd=TEMPLATE)


def following(version: str) -> str:
    """The workshop's release after one of the template: it has a number more, as a fork's has."""
    return ".".join(map(str, [*template.number(version), 1]))


def newest() -> str:
    """The workshop's release."""
    return git("describe", "--tags", "--abbrev=0", "workshop", cwd=TEMPLATE).strip()


def check(scope: Scope) -> Iterator[Finding]:
    """The project has the new release; all of it arrived, and nothing of the team's has changed."""
    prepare()
    made_from, version = template.origin(), newest()
    place = TEMPLATE.relative_to(ROOT)
    yield Finding(
        "the project knows where the template is now",
        is_here(made_from),
        f"{made_from.file} names {made_from.source}",
        (
            f"A template may move: _src_path in {made_from.file} says where it is.",
            f"`_src_path: {place}`, and commit that.",
        ),
    )
    yield Finding(
        f"it has the release {version}",
        made_from.version == version,
        f"it has {made_from.version}",
        (
            "Which verb says whether there is a newer release, and which one brings it?",
            "`make update PREVIEW=1` shows what would change; `make update QUICK=1` does it, on a "
            f"branch called update-{version}, which has to be checked out.",
        ),
    )
    unresolved = git("ls-files", "--unmerged")
    yield Finding(
        "nothing is in conflict",
        not unresolved,
        "some files are changed by both, and not resolved",
        ("`git status` names them.", "Resolve them as in any merge, `git add`, commit."),
    )
    if made_from.version != version:
        return
    update = git("log", "-1", "--format=%H", f"-S_commit: {version}", "--", made_from.file).strip()
    images = changed(update, "steps/*/Dockerfile")
    lacking = [step for step in made_from.extra_steps if f"steps/{step}/Dockerfile" not in images]
    yield Finding(
        "the platform's change arrived, in your own steps too",
        bool(images) and not lacking,
        f"the Dockerfile of {' and '.join(lacking) or 'the steps'} is as it was",
        (
            "An edit of a Dockerfile is kept by the update where the platform left it alone: "
            "`make update-check` names files of the platform that are edited.",
        ),
    )
    lost = changed(update, *OWNED, PLATFORMS)
    yield Finding(
        "your work is as you left it",
        not lost,
        f"the update's commit has changed {template.some(lost)}",
        ("It should have changed nothing of yours: `git show --stat` lists what it did.",),
    )
    after = [run for run in past.succeeded() if run.lineage.git_commit in commits_since(update)]
    yield Finding(
        "the pipeline has run since",
        bool(after),
        "there is no run of the updated project",
        ("`make run`: every step is run once, as its image is another one. Why is that right?",),
    )


def changed(commit: str, *paths: str) -> list[str]:
    """What a commit changed of some paths."""
    return git("diff", "--name-only", f"{commit}~1", commit, "--", *paths).split()


def commits_since(commit: str) -> list[str]:
    """A commit, and those that came after it."""
    return git("rev-list", f"{commit}~1..HEAD").split()
