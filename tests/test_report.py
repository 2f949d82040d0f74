"""Pages made of real runs, opened from a file in a real Chromium without a network."""

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, browser
from conftest import Template
from projects import FLAVOURS, Generated, flavour, life, restored
from pytest_copie.plugin import Copie

from scripts.synthetic import write_runs

pytestmark = [pytest.mark.project, pytest.mark.chromium]
LAPTOP = pytest.mark.parametrize("project", [flavour("laptop")], indirect=True)
SECTIONS = {"pipeline", "metrics", "answers", "features", "data", "card", "lineage"}
SIZE = 1_000_000
"""What a page must stay below, in bytes."""
CONTRAST = 4.5
"""What WCAG asks of text, level AA."""

# The smallest contrast of a colour of text, on both backgrounds.
CONTRASTS = """(() => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const hex = style.getPropertyValue(`--${name}`).trim().slice(1);
    const [r, g, b] = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const texts = ["ink", "muted", "accent", "good", "bad", "warn"].map(light);
  const pairs = texts.flatMap((t) => ["background", "surface"].map((b) => ratio(t, light(b))));
  return Math.min(...pairs, ratio(light("warn"), light("warn-surface")));
})()"""
NAMELESS = """[...document.querySelectorAll("svg[role=img], [role=region], nav")]
  .filter((e) => !e.getAttribute("aria-label")).length"""
TWICE = """(() => {
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  return ids.filter((id, at) => ids.indexOf(id) !== at);
})()"""
ROWS = (
    """[...document.querySelectorAll(".runs tbody tr")].map((row) => row.cells[0].dataset.value)"""
)


@pytest.fixture
def project(
    request: pytest.FixtureRequest, template: Template, copie_session: Copie
) -> Iterator[Generated]:
    """Give the project of a flavour with a run, and take back what a test does to either."""
    with restored(life(request.param, template, copie_session).project) as project:
        kept = project.path / "artifacts-kept"
        project.make("run").succeeded()
        shutil.copytree(project.path / "artifacts", kept)
        try:
            yield project
        finally:
            shutil.rmtree(project.path / "artifacts")
            kept.rename(project.path / "artifacts")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start one Chromium for all pages."""
    with browser() as tab:
        yield tab


def folder(project: Generated) -> Path:
    """Return the folder of the newest run."""
    return max(project.path.glob("artifacts/runs/*/run.json")).parent


def page(project: Generated, chromium: Browser, *, width: int = 1280, dark: bool = False) -> None:
    """Write the page of the newest run and open it: it is small, and has nothing to complain of."""
    project.make("report").succeeded()
    look(folder(project) / "report.html", chromium, width=width, dark=dark)
    ids = set(chromium.evaluate("[...document.querySelectorAll('main > section')].map(e => e.id)"))
    assert ids == SECTIONS


def look(path: Path, chromium: Browser, *, width: int = 1280, dark: bool = False) -> None:
    """Open a page that has to be self-contained."""
    assert path.stat().st_size < SIZE
    chromium.open(path, width=width, dark=dark)
    assert chromium.complaints == []
    assert chromium.requests == [path.resolve().as_uri()]
    assert chromium.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def change(path: Path, **values: Any) -> None:
    """Change top-level values of a record; None takes one away."""
    record = json.loads(path.read_text("utf-8")) | values
    kept = {name: value for name, value in record.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


@pytest.mark.parametrize("project", FLAVOURS, indirect=True)
def test_the_page_of_a_run(project: Generated, chromium: Browser) -> None:
    """Every part is there, with the numbers of the record, in all sizes and by night."""
    page(project, chromium)
    record = project.last_run
    assert chromium.count(".graph.across > g") == len(record["steps"])
    assert chromium.count(".graph.across .line") == len(record["steps"]) - 1
    shown = chromium.evaluate(
        "[...document.querySelectorAll('[data-metric]')].map(e => e.innerText)"
    )
    assert len(shown) == len(record["metrics"])
    for row in shown:
        name, value = row.split()[:2]
        assert float(value.replace(",", "")) == pytest.approx(record["metrics"][name], abs=1e-4)
    assert chromium.count(".chart") >= 2
    assert chromium.count("#features tbody tr") == chromium.count("#data tbody tr") - 1
    lineage = chromium.text("#lineage")
    assert record["lineage"]["git_commit"] in lineage
    assert record["lineage"]["lock_sha256"] in lineage
    assert record["data_version"] in lineage
    for image in record["lineage"]["images"].values():
        assert image in lineage
    for artifact in record["steps"]["ingest"]["artifacts"].values():
        assert artifact["metadata"]["sha256"] in lineage


@LAPTOP
def test_the_curve_and_the_matrix_are_of_the_predictions(
    project: Generated, chromium: Browser
) -> None:
    """The area below the curve is the metric, and the matrix counts every held-out example."""
    page(project, chromium)
    record = project.last_run
    label = chromium.evaluate("document.querySelector('.chart').getAttribute('aria-label')")
    assert f"{record['metrics']['roc_auc']:.4f}" in label
    counts = chromium.evaluate(
        "[...document.querySelectorAll('.confusion b')].map(e => +e.innerText)"
    )
    rows = record["steps"]["ingest"]["artifacts"]["test_data"]["metadata"]["rows"]
    assert sum(counts) == rows
    assert (counts[0] + counts[3]) / rows == pytest.approx(record["metrics"]["accuracy"])


@pytest.mark.parametrize("project", FLAVOURS, indirect=True)
def test_it_can_be_read_anywhere(project: Generated, chromium: Browser) -> None:
    """On a phone and a desk, by day and by night, by eye and by ear; the other page too."""
    project.make("report", "compare").succeeded()
    pages = [folder(project) / "report.html", project.path / "artifacts/compare.html"]
    for path, width, dark in itertools.product(pages, (390, 1280), (False, True)):
        look(path, chromium, width=width, dark=dark)
        shade = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(shade.strip("rgb()").split(",")[0]) < 128) is dark
        assert chromium.evaluate(CONTRASTS) >= CONTRAST
        for selector, shown in ((".graph.across", width > 600), (".graph.down", width < 600)):
            if path == pages[0]:
                visible = f"document.querySelector('{selector}').checkVisibility()"
                assert chromium.evaluate(visible) is shown
        assert chromium.evaluate("document.documentElement.lang") == "en"
        assert chromium.count("h1") == 1
        assert chromium.evaluate(NAMELESS) == 0
        assert chromium.evaluate(TWICE) == []


@LAPTOP
def test_a_failed_run(project: Generated, chromium: Browser) -> None:
    """The page names the step and its error, as text, and shows what there is."""
    model = project.package / "model.py"
    text = model.read_text("utf-8")
    mistake = '    raise ValueError("<b>ducks</b> do not fit")\n'
    model.write_text(text.replace("    estimator =", f"{mistake}    estimator =", 1))
    project.make("run").failed("ducks")
    page(project, chromium)
    assert "train" in chromium.text("h1")
    assert "<b>ducks</b> do not fit" in chromium.text("#pipeline .error")
    assert chromium.count(".graph.across .failed") == 1
    assert chromium.count(".graph.across .not-reached") == 2
    assert chromium.count("#data tbody tr") > 1
    assert chromium.count("[data-metric]") == 0


@LAPTOP
def test_an_interrupted_run(project: Generated, chromium: Browser) -> None:
    """The page says that somebody stopped it, and where."""
    record = project.last_run
    steps = record["steps"]
    steps["train"]["state"] = "failed"
    for name in ("evaluate", "register"):
        steps[name] |= {"state": "not reached", "artifacts": {}, "parameters": {}}
    path = folder(project) / "run.json"
    change(path, state="interrupted", steps=steps, metrics={})
    page(project, chromium)
    assert chromium.count("h1 .interrupted") == 1
    assert "train" in chromium.text("h1")


@pytest.mark.parametrize("project", FLAVOURS, indirect=True)
def test_what_a_run_wrote_is_gone(project: Generated, chromium: Browser) -> None:
    """The page says so, part by part, and shows what the record knows."""
    shutil.rmtree(project.path / "artifacts/outputs")
    page(project, chromium)
    assert chromium.count("[data-metric]") == len(project.last_run["metrics"])
    assert chromium.count(".chart") == 0
    for section in ("answers", "features", "data"):
        assert chromium.count(f"#{section} .note") == 1


@LAPTOP
def test_what_a_run_wrote_is_broken(project: Generated, chromium: Browser) -> None:
    """A truncated file is as good as none."""
    for name in ("predictions", "train_data", "metrics", "curves"):
        for path in project.path.glob(f"artifacts/outputs/*/*/{name}"):
            path.write_bytes(path.read_bytes()[:20])
    page(project, chromium)
    assert chromium.count(".chart") == 0


@LAPTOP
def test_a_record_of_an_older_release(project: Generated, chromium: Browser) -> None:
    """A run that was recorded before there were pages has one, without lines between the steps."""
    steps = project.last_run["steps"]
    for step in steps.values():
        del step["after"], step["within"]
    change(folder(project) / "run.json", steps=steps)
    page(project, chromium)
    assert chromium.count(".graph.across > g") == len(steps)
    assert chromium.count(".graph.across .line") == 0
    assert chromium.count("#pipeline .note") == 1


@LAPTOP
def test_the_model_card(project: Generated, chromium: Browser) -> None:
    """What is known is filled in; what the team writes replaces what is missing, as plain text."""
    page(project, chromium)
    sections = chromium.count("#card .team > div")
    assert sections == chromium.count("#card [data-missing]") > 0
    card = (folder(project) / "model-card.md").read_text("utf-8")
    record = project.last_run
    assert record["steps"]["train"]["artifacts"]["model"]["metadata"]["sha256"] in card
    assert all(f"| {name} | {value:.4f} |" in card for name, value in record["metrics"].items())
    team = project.path / "MODEL_CARD.md"
    head, _, tail = team.read_text("utf-8").partition("## Limits\n")
    _, _, tail = tail.partition("\n## ")
    prose = "Ducks.\n\n<script>alert(1)</script> ![](https://example.com/x.png)"
    team.write_text(f"{head}## Limits\n\n{prose}\n\n## {tail}", encoding="utf-8")
    page(project, chromium)
    assert chromium.count("#card [data-missing]") == sections - 1
    assert "Ducks." in chromium.text("#card")
    assert chromium.count("script, img") == 0
    assert "Ducks." in (folder(project) / "model-card.md").read_text("utf-8")
    team.unlink()
    page(project, chromium)
    assert chromium.count("#card [data-missing]") == 1


@LAPTOP
def test_the_champion_stands_beside(project: Generated, chromium: Browser) -> None:
    """Once a model is released, each metric says how much better or worse the candidate is."""
    model = project.last_run["steps"]["register"]["parameters"]["Output"]
    store = "from pathlib import Path; from runtime.store import ModelStore"
    release = f"ModelStore(str(Path('artifacts/models').absolute())).release({model!r})"
    project.python(f"{store}; {release}").succeeded()
    project.edit("config/project.yaml", "regularisation: 1.0", "regularisation: 1000.0")
    project.make("run").succeeded()
    page(project, chromium)
    metrics = len(project.last_run["metrics"])
    assert chromium.count("[data-metric] .worse") == metrics
    assert chromium.count("[data-metric] .better") == 0
    assert chromium.count(".headline .worse") == 1


@LAPTOP
def test_a_run_is_named(project: Generated) -> None:
    """RUN= chooses; what is there instead of a wrong one is listed; without runs, so it says."""
    first = folder(project)
    project.make("run").succeeded()
    done = project.make("report", f"RUN={first.name}").succeeded()
    assert str((first / "report.html").relative_to(project.path)) in done.out
    project.make("report", "RUN=20010101").failed("20010101", first.name[:8])
    project.make("report", "RUN=../runs").failed("../runs")
    newest = folder(project) / "run.json"
    for dirty in (False, True):
        record = json.loads(newest.read_text("utf-8"))
        record["lineage"]["git_dirty"] = dirty
        newest.write_text(json.dumps(record), encoding="utf-8")
        said = project.make("compare", "LAST=1").succeeded().out
        assert ("* with something not committed" in said) == dirty
    (first / "run.json").write_text("{", encoding="utf-8")
    project.make("report", f"RUN={first.name}").failed("run.json")
    shutil.rmtree(first.parent)
    project.make("report").failed("no run in local yet: `make run` makes one")
    project.make("compare").failed("no run of training in local yet: `make run` makes one")
    there = "in dev yet: `make run RUNNER=cluster ENV=dev` makes one"
    for verb in ("report", "compare"):
        project.make(verb, "ENV=dev").failed(there)
    project.make("runs").failed("'local' has no cluster", "`make compare`")
    project.make("compare", "PIPELINE=trainng").failed("'trainng': PIPELINE is one of", "training")


@pytest.mark.parametrize("project", FLAVOURS, indirect=True)
def test_runs_side_by_side(project: Generated, chromium: Browser) -> None:
    """Five hundred runs, as JSON, on the screen and as a page that sorts by a click."""
    made = write_runs(project.path, 500)
    real = len(list(project.path.glob("artifacts/runs/*/run.json"))) - len(made)
    metric = project.last_run["lineage"]["settings"]["evaluate"]["metric"]
    done = project.make("compare", "JSON=1", f"SORT={metric}").succeeded()
    told = json.loads(done.out)
    assert len(told["runs"]) == len(made) + real
    # Those of other tests may differ in more.
    assert {"ingest.test_fraction", "train.seed"} <= {*told["differing"]}
    assert next(iter(told["metrics"])) == metric
    values = [run["metrics"][metric] for run in told["runs"]]
    assert values == sorted(values, reverse=not told["metrics"][metric]["lower_is_better"])
    assert told["metrics"][metric]["best"] == values[0]
    assert told["metrics"][metric]["run_id"] in {
        run["run_id"] for run in told["runs"] if run["metrics"][metric] == values[0]
    }

    said = project.make("compare", "LAST=3").succeeded().out
    assert sum(run["run_id"] in said for run in told["runs"]) == 3
    project.make("compare", "SORT=ducks").failed("ducks", metric)
    assert project.make("compare", "LAST=0").code != 0

    project.make("compare").succeeded()
    look(project.path / "artifacts/compare.html", chromium)
    assert chromium.count(".chart") == len(told["metrics"])
    newest = chromium.evaluate(ROWS)
    assert newest == sorted(newest, reverse=True)
    assert len(newest) == len(told["runs"])
    button = f"[...document.querySelectorAll('thead button')].find(b => b.innerText == '{metric}')"
    chromium.evaluate(f"{button}.click()")
    order = {run["run_id"]: run["metrics"][metric] for run in told["runs"]}
    clicked = [order[run] for run in chromium.evaluate(ROWS)]
    assert clicked == values
    chromium.evaluate(f"{button}.click()")
    assert [order[run] for run in chromium.evaluate(ROWS)] == values[::-1]
    assert chromium.count("[aria-sort]") == 1


@LAPTOP
def test_records_that_cannot_be_read_are_named(project: Generated, chromium: Browser) -> None:
    """They are left out of the comparison, and the others are compared."""
    for name in write_runs(project.path, 4):
        path = project.path / "artifacts/runs" / name / "run.json"
        place = int(name[11:13])
        if place == 0:
            path.write_text("{", encoding="utf-8")
        elif place == 1:
            path.write_text("[]", encoding="utf-8")
        elif place == 2:
            path.unlink()
        else:
            # As little as an older release may have written.
            change(path, lineage=None, steps=None, metrics=None, seconds=None, champion=None)
    real = len(list(project.path.glob("artifacts/runs/2026*/run.json"))) - 3
    told = json.loads(project.make("compare", "JSON=1").succeeded().out)
    assert len(told["skipped"]) == 3
    assert len(told["runs"]) == real + 1
    said = project.make("compare").succeeded().out
    assert all(name in said for name in told["skipped"])
    look(project.path / "artifacts/compare.html", chromium)
    assert chromium.count(".runs tbody tr") == real + 1
    assert chromium.count("details li") == 3
