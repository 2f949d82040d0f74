"""`make fleet` and `make fleet-update`: each project by itself, and again after anything."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, commit, git

from scripts import fleet, ledger
from scripts.fleet_demo import Count, chosen, problems, recount, template_of
from scripts.fleet_members import entries, members
from scripts.fleet_updates import target
from scripts.repository import surroundings
from scripts.screen import Refused
from scripts.trials import HIGH, Group, Trials

ANSWERS = ".copier-answers.yml"
BRANCH = f"update-{HIGH}"
OLDEST = ledger.read(ROOT)[0].version


@pytest.fixture(scope="session")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Trials:
    """Give every release of the template, with this checkout as the newest: do not change it."""
    folder = tmp_path_factory.mktemp("fleet")
    return Trials(template_of(folder / "template"), folder)


@dataclass(frozen=True)
class Fleet:
    """Projects in a folder, and the commands for them."""

    folder: Path
    trials: Trials

    def project(self, name: str, release: str = OLDEST) -> Path:
        """Make a project, committed."""
        made = self.trials.made(release, {})
        return Path(shutil.copytree(made, self.folder / name, symlinks=True))

    def bare(self, name: str, project: Path) -> str:
        """Put a project where it can be cloned from and pushed to, and return its URL."""
        git(self.folder, "clone", "--quiet", "--bare", str(project), name)
        return (self.folder / name).as_uri()

    def command(self, verb: str, *projects: str | Path, **variables: str) -> dict[str, Any]:
        """Return what makes a process of a verb, as the Makefile does."""
        variables |= {
            "PROJECTS": " ".join(map(str, projects)),
            "WORKSPACE": str(self.workspace),
            "TEMPLATE": str(self.trials.template),
        }
        return {
            "args": [sys.executable, "-m", "scripts.fleet", verb],
            "cwd": ROOT,
            "env": {**surroundings(), "TO": "", "JSON": "", "PUSH": "", **variables},
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }

    @property
    def workspace(self) -> Path:
        """Return where clones and reports are."""
        return self.folder / "fleet"

    def run(self, verb: str, *projects: str | Path, **variables: str) -> tuple[int, str, str]:
        """Give a command; return its exit code, and what it says on both channels."""
        done = subprocess.run(**self.command(verb, *projects, **variables), check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    def states(self, verb: str, *projects: str | Path, **variables: str) -> dict[str, str]:
        """Return what comes of each project, by its name."""
        return {name: found["state"] for name, found in self.found(verb, *projects, **variables)}

    def found(
        self, verb: str, *projects: str | Path, **variables: str
    ) -> list[tuple[str, dict[str, Any]]]:
        """Return what is found of each project, with its name."""
        code, out, err = self.run(verb, *projects, JSON="1", **variables)
        projects_found = json.loads(out)["projects"]
        stopped = {"refused", "failed", *(["conflict"] if verb == "update" else [])}
        assert code == any(each["state"] in stopped for each in projects_found), err
        return [(Path(each["project"]).name, each) for each in projects_found]


@pytest.fixture
def many(trials: Trials, tmp_path: Path) -> Fleet:
    """Give a folder for projects."""
    return Fleet(tmp_path, trials)


def answer(project: Path, **changed: str | None) -> None:
    """Change what the answers file says, and commit it."""
    file = project / ANSWERS
    answers = {**yaml.safe_load(file.read_text("utf-8")), **changed}
    answers = {key: value for key, value in answers.items() if value is not None}
    file.write_text(yaml.safe_dump(answers), encoding="utf-8")
    commit(project)


def test_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments, blanks, paths from the list's folder, URLs, a folder of a repository, twice."""
    (tmp_path / "lists").mkdir()
    listed = tmp_path / "lists/fleet.txt"
    listed.write_text(
        "# Ours\n\nchurn  # the first\n../two words\nhttps://me:secret@example.com/acme/a.git\n"
        "git@example.com:acme/mono#models/fraud\nchurn\n"
    )
    monkeypatch.chdir(tmp_path)
    found = members([str(listed), "b#1", "lists/churn"], tmp_path / "work")
    assert [member.name for member in found] == [
        "churn",
        "../two words",
        "acme/a",
        "acme/mono#models/fraud",
        "b#1",
    ]
    assert [member.folder for member in found[:2]] == [
        tmp_path / "lists/churn",
        tmp_path / "two words",
    ]
    assert found[2].source == "https://example.com/acme/a.git"
    assert found[2].url == "https://me:secret@example.com/acme/a.git"
    assert found[3].url == "git@example.com:acme/mono"
    assert found[3].clone
    assert found[3].folder == found[3].clone / "models/fraud"
    assert found[3].folder.is_relative_to(tmp_path / "work")
    assert found[4].clone is None


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "lists no project"), (b"# None\n\n", "lists no project"), (b"\xff", "cannot be read")],
)
def test_a_list_of_nothing(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "fleet.txt").write_bytes(content)
    with pytest.raises(Refused, match=words):
        list(entries([str(tmp_path / "fleet.txt")]))
    with pytest.raises(Refused, match="No project is named"):
        members([], tmp_path)


def test_the_release(trials: Trials, tmp_path: Path) -> None:
    """The newest good one, or the one that is asked for; not one that was withdrawn."""
    assert target(trials.template, "", tmp_path / "newest").version == HIGH
    withdrawn = tmp_path / "withdrawn"
    git(tmp_path, "clone", "--quiet", str(trials.template), str(withdrawn))
    text = (withdrawn / ledger.LEDGER).read_text()
    head, _, last = text.rstrip("\n").rpartition("\n")
    (withdrawn / ledger.LEDGER).write_text(f"{head}\n{last[:-1]}, yanked: It bites.}}\n")
    commit(withdrawn)
    # Before 0.4.0, there is nothing that could be run from outside.
    for to, words in (
        (HIGH, "was withdrawn: It bites"),
        ("0.0.7", f"no release 0.0.7; there are {OLDEST}"),
        (OLDEST, "has no hooks/update.py"),
    ):
        with pytest.raises(Refused, match=words):
            target(withdrawn, to, tmp_path / f"to-{to}")
    git(tmp_path, "clone", "--quiet", "--depth=1", trials.template.as_uri(), "shallow")
    for name, words in (
        ("shallow", "git fetch --unshallow"),
        ("nowhere", "is no clone of the template"),
        (".", "is no clone of the template"),
    ):
        with pytest.raises(Refused, match=words):
            target(tmp_path / name, "", tmp_path / "never")


def test_what_is_no_project(many: Fleet) -> None:
    """Each gets a sentence, and those beside it go on."""
    good = many.project("good", HIGH)
    expected = {"good": "", "nowhere": "is not there"}
    (many.folder / "file").write_text("x")
    expected["file"] = "is a file"
    (many.folder / "empty").mkdir()
    expected["empty"] = "is not in git, or has no commit"
    shutil.copytree(many.folder / "empty", many.folder / "other")
    git(many.folder / "other", "init", "--quiet")
    commit(many.folder / "other")
    expected["other"] = "it is no project of Copier's"
    broken = many.project("broken")
    (broken / ANSWERS).write_text("a: [")
    expected["broken"] = f"{ANSWERS} cannot be read"
    mute = many.project("mute")
    answer(mute, _commit=None)
    expected["mute"] = "does not say which template"
    many.bare("bare", good)
    expected["bare"] = "it is no project of Copier's"
    listed = many.folder / "fleet.txt"
    listed.write_text("\n".join(expected) + f"\n{(many.folder / 'no.git').as_uri()}\n")
    expected["no"] = "cannot be fetched"
    for name, found in many.found("status", listed):
        assert expected[name] in found["says"]
        assert found["state"] == ("refused" if expected[name] else "up to date"), name
        assert "\n" not in found["says"]
    assert many.states("status", many.folder / "nowhere") == {"nowhere": "refused"}


def test_where_a_project_comes_from(many: Fleet) -> None:
    """From this template, by one answers file, from a release; else it says what to do."""
    elsewhere = many.folder / "elsewhere"
    elsewhere.mkdir()
    git(elsewhere, "init", "--quiet")
    commit(elsewhere, tag="1.0.0")
    tagged = Path(shutil.copytree(elsewhere, many.folder / "tagged"))
    commit(tagged, tag=HIGH)
    head = git(many.trials.template, "rev-parse", "HEAD~").strip()
    changes: dict[str, tuple[dict[str, str], str]] = {
        "another": ({"_src_path": str(elsewhere)}, f"has no release {HIGH}"),
        "same-tag": ({"_src_path": str(tagged)}, f"is another one: its {HIGH} is not"),
        "moved": ({"_src_path": "file:///no/where.git"}, "url.NEW.insteadOf file:///no/where.git"),
        "lost": ({"_commit": "0.0.7"}, "this template has no 0.0.7"),
        "commit": ({"_commit": head}, "is no release"),
        "twice": ({}, "are all of this template"),
        "more": ({"_commit": f"{HIGH}-0-g{head[:7]}"}, ""),
    }
    for name, (changed, _) in changes.items():
        answer(many.project(name), **changed)
    shutil.copy(many.folder / "twice" / ANSWERS, many.folder / "twice/.copier-answers.ml.yml")
    other = f"_src_path: {elsewhere}\n_commit: 1.0.0\n"
    (many.folder / "more/.copier-answers.other.yml").write_text(other)
    results = many.found("status", *(many.folder / name for name in changes))
    for name, found in results:
        words = changes[name][1]
        assert words in found["says"], found
        assert found["state"] == ("refused" if words else "up to date"), name


@pytest.mark.updates
def test_the_template_has_moved(many: Fleet) -> None:
    """Git can be told where it is now, as the sentence says."""
    moved = many.project("moved")
    answer(moved, _src_path="file:///no/where.git")
    settings = Path(os.environ["GIT_CONFIG_GLOBAL"]).read_text("utf-8")
    file = many.folder / "gitconfig"
    file.write_text(f'{settings}[url "{many.trials.template}"]\n\tinsteadOf = file:///no/where.git')
    assert many.states("status", moved, GIT_CONFIG_GLOBAL=str(file)) == {"moved": "clean"}


@pytest.mark.updates
def test_what_an_update_would_meet(many: Fleet) -> None:
    """By the exit code, the table and JSON: the release, edits of managed files, conflicts."""
    clean, dirty, edited = (many.project(name) for name in ("clean", "dirty", "edited"))
    (dirty / "new.txt").touch()
    (edited / "Makefile").write_text("# Ours\n")
    (edited / "project.mk").write_text("# Ours\n")
    commit(edited)
    heads = [git(project, "rev-parse", "HEAD") for project in (clean, dirty, edited)]
    found = dict(many.found("status", clean, dirty, edited))
    assert [found[name]["state"] for name in found] == ["clean", "refused", "conflict"]
    assert "Not committed: new.txt" in found["dirty"]["says"]
    assert found["edited"]["edited"] == found["edited"]["conflicts"] == ["Makefile"]
    assert found["clean"]["release"] == OLDEST
    releases = [release.version for release in ledger.read(many.trials.template)]
    assert found["clean"]["behind"] == releases[1:]
    assert found["clean"]["days"] >= 0
    assert [git(project, "rev-parse", "HEAD") for project in (clean, dirty, edited)] == heads
    assert not git(clean, "branch", "--list", BRANCH)

    code, out, _ = many.run("status", edited)
    assert code == 0
    for words in ("edited", OLDEST, f"{len(releases) - 1} releases", "1 conflict"):
        assert words in out
    assert out.splitlines()[-1].startswith("→")


def test_one_at_a_time(many: Fleet) -> None:
    """Two fleets in one workspace would be in each other's way; it has to be a folder."""
    with fleet.at_work(many.workspace):
        code, _, err = many.run("status", many.folder)
        assert (code, "Another fleet is at work" in err) == (1, True)
    (many.folder / "file").touch()
    with pytest.raises(Refused, match="cannot be used"), fleet.at_work(many.folder / "file"):
        pass
    with pytest.raises(Refused, match="inside this checkout"), fleet.at_work(ROOT / "fleet"):
        pass


def team(project: Path, conflict: bool = False) -> Path:
    """Do a team's work; return the project."""
    (project / "project.mk").write_text("# Ours\n")
    if conflict:
        (project / "Makefile").write_text("# Ours\n")
    commit(project, "Our work")
    return project


@pytest.mark.updates
def test_updates_of_clones(many: Fleet) -> None:
    """A branch each, pushed if that is wanted; what is done is skipped; conflicts stay to see."""
    urls = [
        many.bare("a.git", team(many.project("one"))),
        many.bare("b.git", team(many.project("two"), conflict=True)),
    ]
    found = dict(many.found("update", *urls))
    assert [each["state"] for each in found.values()] == ["updated", "conflict"]
    (a, b) = found.values()
    assert a["counts"]["changed"] > 0
    assert json.loads(Path(a["report"]).read_text())["new"] == HIGH
    assert (Path(a["folder"]) / f"artifacts/updates/{HIGH}.md").exists()
    assert (Path(a["folder"]) / "project.mk").read_text() == "# Ours\n"
    assert b["conflicts"] == ["Makefile"]
    assert b["folder"] in b["says"]
    origin = many.folder / "a.git"
    assert not git(origin, "branch", "--list", BRANCH)

    # A second time, nothing is done but what was not: the push.
    head = git(Path(a["folder"]), "rev-parse", BRANCH)
    assert list(many.states("update", *urls, PUSH="1").values()) == [
        "waits on its branch",
        "conflict",
    ]
    assert git(origin, "rev-parse", BRANCH) == head
    assert not git(many.folder / "b.git", "branch", "--list", BRANCH)
    # The conflict, resolved in the clone; in another workspace, the branch that was pushed.
    git(Path(b["folder"]), "checkout", "--quiet", "--theirs", "Makefile")
    commit(Path(b["folder"]), "Update")
    states = many.states("update", *urls, PUSH="1")
    assert set(states.values()) == {"waits on its branch"}
    assert git(many.folder / "b.git", "show", f"{BRANCH}:project.mk") == "# Ours\n"
    shutil.rmtree(many.workspace)
    assert set(many.states("update", *urls).values()) == {"waits on its branch"}
    # Merged, and fetched.
    git(origin, "branch", "--force", "main", BRANCH)
    assert list(many.states("status", *urls).values()) == ["up to date", "waits on its branch"]


@pytest.mark.updates
def test_updates_of_folders(many: Fleet) -> None:
    """As make update does: where the person is, unless there is work that is not committed."""
    one, two = team(many.project("one")), many.project("two")
    (two / "project.mk").write_text("# Ours\n")
    assert many.states("update", one, two) == {"one": "updated", "two": "refused"}
    assert git(one, "branch", "--show-current").strip() == BRANCH
    assert git(one, "status", "--porcelain") == ""
    assert (two / "project.mk").read_text() == "# Ours\n"
    assert not git(two, "branch", "--list", BRANCH)
    commit(two)
    assert many.states("update", one, two) == {"one": "up to date", "two": "updated"}
    git(one, "switch", "--quiet", "main")
    assert many.states("update", one) == {"one": "waits on its branch"}


@pytest.mark.updates
def test_projects_of_one_repository(many: Fleet) -> None:
    """They share branches, so that one is updated after the other is merged."""
    mono = many.folder / "mono"
    for name in ("a", "b"):
        shutil.rmtree(many.project(f"mono/{name}") / ".git")
    (mono / "b" / ANSWERS).rename(mono / "b/.copier-answers.ml.yml")
    git(mono, "init", "--quiet", "--initial-branch=main")
    commit(mono)
    url = many.bare("mono.git", mono)
    for projects in ((mono / "a", mono / "b"), (f"{url}#a", f"{url}#b")):
        (_, a), (_, b) = many.found("update", *projects)
        assert (a["state"], b["state"]) == ("updated", "refused")
        assert "merge that first" in b["says"]
        top = Path(a["folder"]).parent
        git(top, "switch", "--quiet", "main")
        git(top, "merge", "--quiet", BRANCH)
        git(top, "branch", "--quiet", "-D", BRANCH)
    (_, a), (_, b) = many.found("update", mono / "a", mono / "b")
    assert (a["state"], b["state"]) == ("up to date", "updated")
    (_, nowhere) = many.found("status", f"{url}#nowhere")[0]
    assert "is not in its repository" in nowhere["says"]


@pytest.mark.updates
def test_one_is_killed(many: Fleet) -> None:
    """In its most delicate moment: the others go on, and the next time it is brought to its end."""
    shim = many.folder / "bin/git"
    shim.parent.mkdir()
    shim.write_text(f"""#!/bin/bash
caller="$(ps -ww -o args= -p $PPID)"
if [[ "$*" = *"switch "* && "$caller" = *hooks/update.py*bad* ]]; then
  {shutil.which("git")} "$@"
  kill -KILL $PPID
  sleep 60
fi
exec {shutil.which("git")} "$@"
""")
    shim.chmod(0o755)
    path = f"{shim.parent}:{os.environ['PATH']}"
    bad, good = (team(many.project(name)) for name in ("bad", "good"))
    url = many.bare("bad.git", bad)
    found = many.found("update", url, bad, good, PATH=path)
    assert [each["state"] for _, each in found] == ["failed", "failed", "updated"]
    found = many.found("update", url, bad, good)
    assert [each["state"] for _, each in found] == ["updated", "refused", "up to date"]
    # In a person's own folder it is theirs to say.
    says = found[1][1]["says"]
    assert "stopped in the middle" in says
    undo = says.partition(f"in {bad}: ")[2]
    subprocess.run(["bash", "-c", undo], cwd=bad, check=True)
    assert many.states("update", bad) == {"bad": "updated"}
    for project in (bad, Path(found[0][1]["folder"])):
        assert git(project, "status", "--porcelain") == ""
        assert git(project, "rev-list", "--count", "main..HEAD").strip() == "1"
        assert (project / "project.mk").read_text() == "# Ours\n"


@pytest.mark.updates
def test_all_is_killed(many: Fleet) -> None:
    """The fleet and all that it runs; given once more, it goes on with what is left."""
    urls = [many.bare(f"{name}.git", team(many.project(name))) for name in ("a", "b", "c")]
    command = many.command("update", *urls, JOBS="1")
    with subprocess.Popen(**command, start_new_session=True) as running:
        deadline = time.monotonic() + 120
        while not (reports := list(many.workspace.glob("reports/a*.json"))):
            assert time.monotonic() < deadline
            assert running.poll() is None
            time.sleep(0.1)
        time.sleep(1)
        os.killpg(running.pid, signal.SIGKILL)
    states = list(many.states("update", *urls).values())
    assert states[0] == "waits on its branch"
    assert set(states[1:]) <= {"updated", "waits on its branch"}
    assert states[2] == "updated"
    assert len(reports) == 1
    assert set(many.states("update", *urls).values()) == {"waits on its branch"}


@pytest.mark.updates
def test_the_demo() -> None:
    """A few projects: what is counted adds up, nothing is lost, and the exit code says so."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.fleet_demo"],
        cwd=ROOT,
        env={**surroundings(), "N": "3", "SEED": "7"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (total,) = (line for line in done.stdout.splitlines() if line.split()[:1] == ["all"])
    edited, kept, merged, conflicts, lost, updated = map(int, total.split()[1:])
    assert edited == kept + merged + conflicts > 0
    assert updated > 3 * 10
    assert lost == 0
    assert "Nothing is lost." in done.stdout


def test_the_demo_chooses() -> None:
    """The same for the same seed, another for another; only what can be updated."""
    groups = [chosen(OLDEST, f"1-{each}") for each in range(30)]
    assert groups == [chosen(OLDEST, f"1-{each}") for each in range(30)]
    assert len({str(group.edits) for group in groups}) > 20
    assert len({group.name for group in groups}) > 3
    assert all(edit.worst in ("kept", "conflict") for group in groups for edit in group.edits)


def test_the_demo_finds_out(trials: Trials) -> None:
    """What an update would have lost is counted: that it found nothing above means something."""
    group = Group(OLDEST, "nothing", (), {}, {})
    begun = trials.begin(group)
    project = begun.work.project

    def left(**states: str | None) -> Count:
        """Recount after an update that leaves these files so, and all the others as before."""
        for name, text in states.items():
            file = project / {"ours": "project.mk", "readme": "README.md"}.get(name, name)
            file.unlink() if text is None else file.write_text(text)
        return recount(begun)

    old, new = (dict(each) for each in (begun.origin, begun.before))
    assert recount(begun) == Count(edited=[], kept=0)
    begun.before["project.mk"] = "file of the team"
    assert left().lost == ["project.mk"]
    begun.before["project.mk"] = new["project.mk"]
    begun.before["README.md"] = "file of the team"
    assert left().lost == ["README.md"]
    fresh = (begun.fresh / "README.md").read_text()
    assert left(readme=fresh).lost == ["README.md"]
    assert left(readme=f"{fresh}Ours\n").lost == []
    assert left(readme=f"{fresh}Ours\n").merged == 1
    assert left(readme=None).lost == ["README.md"]
    begun.before["README.md"] = old["README.md"]
    assert left().lost == ["README.md"]
    assert left(readme=fresh) == Count(updated=1)
    assert left(stray="Nobody's").lost == ["stray"]
    (project / "stray").unlink()
    git(project, "checkout", "--quiet", "README.md")
    said = {"state": "updated", "says": "", "conflicts": []}
    lost = ["lost, by its hashes: project.mk", "nothing is as the new release makes it"]
    assert problems(begun, left(ours="Not ours\n"), said) == lost
    (other,) = problems(begun, Count(updated=1), {**said, "state": "conflict"})
    assert other.startswith("not as the command says")
