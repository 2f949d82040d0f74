"""What teams do to a project, of every release, survives the update to this checkout."""

import pytest
from conftest import ROOT, Template, git
from projects import Generated

from scripts import ledger
from scripts.edits import CLASHING, EDITS, WORKING
from scripts.ownership import OWNED
from scripts.render import answers, whole
from scripts.repository import unmerged
from scripts.trials import (
    HIGH,
    Group,
    Trials,
    Way,
    by_copier,
    differences,
    ends,
    groups,
    tree,
)
from scripts.updates import PAGE, WORDS, page, read, word

RELEASES = [release.version for release in ledger.read(ROOT)]
# Every edit the longest way, from the oldest release that knows it; from the others what the
# platform's changes can clash with. `make updates`, before a release, tries all from all.
ENDS = ends(RELEASES)
FROM_ALL = (WORKING, CLASHING)
OLDEST = {
    edit.name: release
    for release in reversed(RELEASES)
    for group in groups(release).values()
    for edit in group.edits
}
GROUPS = [
    pytest.param(
        group,
        id=f"{group.release}-{group.name}",
        # One of them is fast enough for every day: the longest way, with most of the edits.
        marks=[pytest.mark.updates] * ((group.release, group.name) != (RELEASES[0], WORKING)),
    )
    for release in RELEASES
    for name, group in groups(release).items()
    if name in FROM_ALL or release in {OLDEST[edit.name] for edit in group.edits}
]
# A team's old files have to work with the platform's new ones: of the oldest release and the newest
# with the team's edits in them, and of the oldest in every other flavour.
LAPTOP = "laptop"
LIVES = [(release, LAPTOP) for release in ENDS]
LIVES += [(RELEASES[0], flavour) for flavour in whole() if flavour != LAPTOP]
TEXT = (ROOT / PAGE).read_text("utf-8")
SAID, SHOWN = read(TEXT)


@pytest.fixture(scope="session")
def trials(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Trials:
    """Give a clone in which every release has its tag, to try updates with."""
    folder = tmp_path_factory.mktemp("updates")
    git(folder, "clone", "--quiet", str(template.path), "template")
    ledger.tag_releases(folder / "template")
    return Trials(folder / "template", folder)


@pytest.mark.parametrize("way", Way)
@pytest.mark.parametrize("group", GROUPS)
def test_nothing_is_lost(trials: Trials, group: Group, way: Way) -> None:
    """What the team did is there, the platform's changes too, and nothing else."""
    trial = trials.trial(group, way, again=group.release in ENDS)
    assert not trial.problems, "\n".join(trial.problems)
    for name, outcome in trial.outcomes.items():
        if group.release in SHOWN:
            said = SAID.get(name, {}).get(group.release, "")
            assert word(said, way) == WORDS[outcome], f"{name}: run make updates"


def test_the_corpus() -> None:
    """Enough edits, each with a name and a sentence of its own; a group shares its answers."""
    assert len(EDITS) >= 40
    assert len({edit.name for edit in EDITS}) == len({edit.says for edit in EDITS}) == len(EDITS)
    for release in RELEASES:
        for group in groups(release).values():
            for edit in group.edits:
                assert (edit.before, edit.answers) == (group.before, group.answers), edit.name


def test_the_page_is_current() -> None:
    """The page shows this corpus. A release gets its column with the next one."""
    assert SHOWN in (RELEASES, RELEASES[:-1]), "run make updates"
    assert page(SAID, SHOWN) == TEXT, "run make updates"


@pytest.mark.updates
@pytest.mark.parametrize("release", RELEASES)
def test_no_path_is_gone(trials: Trials, release: str) -> None:
    """What a team may have edited is there, or retired: Copier would delete it, edits and all."""
    all_parts = {"kubeflow_components": ["pipelines", "serving", "mlflow"]}
    old, new = (tree(trials.made(version, all_parts)) for version in (release, HIGH))
    assert not [path for path in old.keys() - new.keys() if trials.owner(path) != OWNED]


@pytest.mark.updates
def test_through_every_release(trials: Trials) -> None:
    """A project that took every release has the platform's files of one that took the last."""
    begun = trials.begin(groups(RELEASES[0])[WORKING])
    for release in [*RELEASES[1:], HIGH]:
        assert not by_copier(begun.work, {}, release)
        assert not unmerged(begun.work.project)
        begun.work.commit()
    found, expected = tree(begun.work.project), trials.expected(begun)
    # An owned file is as the release that introduced it made it, not as the last one would.
    late = {p for p in expected if trials.owner(p) == OWNED and p not in begun.before}
    assert not differences(expected, found, but=late)
    assert late <= found.keys()


@pytest.mark.project
@pytest.mark.parametrize(("release", "flavour"), LIVES)
def test_everything_works(trials: Trials, release: str, flavour: str) -> None:
    """Set up and run at the old release, updated: all verbs succeed, and the model is known."""
    group = Group(release, flavour, (), answers(flavour), answers(flavour))
    work = trials.begin(groups(release)[WORKING] if flavour == LAPTOP else group).work
    project = Generated(work.project)
    project.make("setup", "run").succeeded()
    model = next(project.path.glob("artifacts/models/*/record.json"))
    work.commit()
    assert not trials.update(work, group.answers)
    assert not unmerged(project.path)
    project.make("setup", "check", "test", "compile", "run").succeeded()
    assert project.last_run["state"] == "succeeded"
    assert model.exists()
    work.commit()
    assert git(project.path, "status", "--porcelain") == ""
