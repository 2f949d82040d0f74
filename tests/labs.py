"""Solutions of the workshop's labs, and mistakes that participants make: kept here, never there."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import engine
import yaml
from conftest import commit, git
from projects import Done, Generated, machine

STEP = "clean_text"
SERVER_STARTS = 120
"""Seconds that a model server gets."""


@dataclass
class Walk:
    """A participant in a project, and all that they typed."""

    project: Generated
    better: dict[str, Any]
    """Settings of `train` that beat those the project comes with."""
    worse: dict[str, Any]
    """Settings of `train` that do not."""
    rows: int
    """So many rows of the training data are enough for that."""
    lower_bar: float
    """A `minimum` that every model reaches."""
    typed: set[str] = field(default_factory=set)
    before: str = ""
    """The champion of before, in lab 8."""
    seconds: dict[str, float] = field(default_factory=dict)
    """What was done, and how long it took."""

    def make(self, command: str, **environment: str | None) -> Done:
        """Type make and what comes after it."""
        self.typed.add(f"make {command}")
        return self.project.make(*command.split(), **environment)

    def git(self, command: str) -> str:
        """Type git and what comes after it."""
        self.typed.add(f"git {command}")
        return git(self.project.path, *command.split())

    def check(self, lab: int, more: str = "") -> Done:
        """Ask whether a lab is done."""
        return self.make(f"workshop-check LAB={lab} {more}".strip())

    def setting(self, section: str, **values: Any) -> None:
        """Change settings of a step."""
        path = self.project.path / "config/project.yaml"
        content = yaml.safe_load(path.read_text("utf-8"))
        content[section] = {**(content.get(section) or {}), **values}
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")

    def settings_back(self) -> None:
        """Put all settings back as they were committed."""
        git(self.project.path, "checkout", "--quiet", "--", "config/project.yaml")

    def edit(self, file: str, old: str, new: str) -> None:
        """Edit a file of the package."""
        self.project.edit(str(self.project.package.relative_to(self.project.path) / file), old, new)

    def back(self, file: str) -> None:
        """Put a file of the package back as it was committed."""
        git(self.project.path, "checkout", "--quiet", "--", str(self.project.package / file))

    @property
    def models(self) -> list[str]:
        """List the registered models, the oldest first."""
        records = [
            json.loads(path.read_text("utf-8"))
            for path in self.project.path.glob("artifacts/models/*/record.json")
        ]
        records.sort(key=lambda record: str(record["registered_at"]))
        return [str(record["model_id"]) for record in records]

    @property
    def champion(self) -> str:
        """Say which model is released."""
        path = self.project.path / "artifacts/models/champion.json"
        return str(json.loads(path.read_text("utf-8"))["model_id"])


Mistake = Callable[[Walk], str]
"""Does something wrong, and returns words that the check has to say of it."""


@dataclass(frozen=True)
class Solution:
    """What is done in a lab."""

    mistakes: tuple[Mistake, ...]
    solve: Callable[[Walk], None]


def run_once(walk: Walk) -> str:
    """Run, and think that this was it."""
    walk.make("run").succeeded()
    return "a second run found nothing to do"


def run_and_report(walk: Walk) -> None:
    """Run once more, and write the report."""
    walk.make("run").succeeded()
    walk.make("report").succeeded()


def nothing_changed(walk: Walk) -> str:
    """Run again, and look at the hints until there are no more."""
    walk.make("run").succeeded()
    for _ in range(2):
        assert "Put that back" not in walk.check(2).out
    return "Say `regularisation: 10`"


def other_seed(walk: Walk) -> str:
    """Change how the data are split, and a parameter beside it."""
    walk.setting("ingest", seed=8)
    walk.setting("train", **walk.worse)
    walk.make("run").succeeded()
    walk.settings_back()
    return "ingest.seed too"


def one_parameter(walk: Walk) -> None:
    """Change one parameter, and look at both runs."""
    walk.setting("train", **walk.worse)
    walk.make("run").succeeded()
    walk.make("compare").succeeded()
    walk.settings_back()


IMPORTS = "from sklearn.preprocessing import OneHotEncoder, StandardScaler\n"
FEATURE = (
    "from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler\n\n"
    "from .schema import FEATURES\n\n\n"
    "def compared(frame):\n"
    '    """The first number beside the second, or what else a lab makes of them."""\n'
    "    return {how}\n"
)
INTO = '("numbers", numbers,'


def feature(walk: Walk, how: str) -> None:
    """Put a function into the features."""
    walk.edit("features.py", IMPORTS, FEATURE.format(how=how))
    new = '("compared", FunctionTransformer(compared), list(FEATURES)[:2]),\n            '
    walk.edit("features.py", INTO, new + INTO)


def of_the_batch(walk: Walk) -> str:
    """Subtract the mean of whatever rows come along."""
    feature(walk, "frame - frame.mean()")
    return "row 0 alone gives other numbers"


def divided_by_zero(walk: Walk) -> str:
    """Divide by what may be nothing."""
    walk.back("features.py")
    feature(walk, "frame.iloc[:, [0]] / (frame.iloc[:, [1]] * 0).to_numpy()")
    return "missing or infinite"


def not_trained(walk: Walk) -> str:
    """Write it properly, and forget to run."""
    walk.back("features.py")
    feature(walk, "frame.iloc[:, [0]] / (frame.iloc[:, [1]].to_numpy() + 1)")
    return "the newest run's model does not have it"


def trained(walk: Walk) -> None:
    """Run with it, and have the tests of features know of it."""
    tests = "tests/unit/test_features.py"
    package = walk.project.package.name
    walk.project.edit(
        tests,
        f"from {package}.features import preprocessing",
        f"from {package}.features import preprocessing\nfrom {package}.schema import FEATURES",
    )
    columns = "    for frame in (seen, unseen):\n        frame[list(FEATURES)[:2]] = 1.0\n"
    fitted = "    fitted = preprocessing().fit(seen)"
    walk.project.edit(tests, fitted, columns + fitted)
    numbers = 'fit_transform(examples.select_dtypes("number"))'
    walk.project.edit(tests, numbers, f"{numbers}[:, 1:]")
    # A function of one's own gives its columns no names.
    shape = "numbers.shape == (len(frame), len(fitted.get_feature_names_out()))"
    walk.project.edit(tests, shape, "len(numbers) == len(frame)")
    walk.make("format").succeeded()
    walk.make("check test").succeeded()
    walk.make("run").succeeded()
    commit(walk.project.path, "A feature")


BROKEN = "artifacts/workshop/broken.csv"
LIMITS = "pa.Check.in_range(*limits)"


def wider_schema(walk: Walk) -> str:
    """Have it stopped, then change the ruler."""
    walk.setting("ingest", source=BROKEN)
    walk.make("run").failed("validate failed")
    walk.edit("schema.py", LIMITS, "pa.Check.in_range(-1e12, 1e12)")
    walk.make("run").succeeded()
    return "schema.py now takes a row"


def mended(walk: Walk) -> None:
    """Leave out, where data are read, the rows that cannot be true."""
    walk.back("schema.py")
    walk.edit(
        "data.py",
        "    return sources.read(source, query, max_bytes=max_bytes)",
        "    frame = sources.read(source, query, max_bytes=max_bytes)\n"
        "    return frame[frame.select_dtypes('number').abs().max(axis=1) < 1e6]",
    )
    walk.make("format").succeeded()
    walk.make("run").succeeded()
    walk.settings_back()
    commit(walk.project.path, "Rows that cannot be true are left out")


def unheard(walk: Walk) -> str:
    """Make a step and call it, and have nobody take what it gives."""
    said = walk.make(f"step NAME={STEP}").succeeded().out
    imported, parameter, call = re.findall(r"^    (\S.*)$", said, re.MULTILINE)
    pipeline = "pipelines/training.py"
    walk.project.edit(pipeline, "from steps.evaluate", f"{imported}\nfrom steps.evaluate")
    walk.project.edit(pipeline, "    train_settings", f"    {parameter}\n    train_settings")
    walk.project.edit(pipeline, "    candidate = train", f"    {call}\n    candidate = train")
    walk.make("run").succeeded()
    return "computed and thrown away"


def idle(walk: Walk) -> str:
    """Give its result to `train`, though it is what it was."""
    result = f"train(train_data={STEP}_result"
    walk.project.edit("pipelines/training.py", "train(train_data=train_data", result)
    walk.make("run").succeeded()
    return "gives is what it got"


def not_accepted(walk: Walk) -> str:
    """Have it do something, and forget how the pipeline compiles."""
    walk.setting(STEP, max_rows=walk.rows)
    walk.make("run").succeeded()
    return "tests/golden"


def accepted(walk: Walk) -> None:
    """Accept the pipeline, and keep all of it."""
    walk.make("golden").succeeded()
    walk.make("format").succeeded()
    assert walk.git("diff tests/golden")
    commit(walk.project.path, "A step of our own")


def only_released(walk: Walk) -> str:
    """Release a model that nothing was held against."""
    walk.make(f"release RUN={walk.models[0]}").succeeded()
    walk.typed.add("make release RUN=")
    return "held it against a champion"


def lower_bar(walk: Walk) -> str:
    """Beat it, and ask less of the candidate in the same breath."""
    walk.setting("evaluate", minimum=walk.lower_bar)
    walk.setting("train", **walk.better)
    walk.make("run").succeeded()
    walk.make("release").succeeded()
    assert walk.champion != walk.models[0], "the solution beats nobody"
    return "asks less than it did"


def a_better_model(walk: Walk) -> None:
    """Release the old one again, and beat it on the same terms."""
    walk.make(f"release RUN={walk.models[0]}").succeeded()
    walk.settings_back()
    walk.setting("train", **walk.better)
    walk.make("run").succeeded()
    walk.make("compare").succeeded()
    walk.make("release").succeeded()
    walk.make("releases").succeeded()
    commit(walk.project.path, "A better model")


def table_without_keys(walk: Walk) -> str:
    """Predict, and not know whose the answers are."""
    walk.make("run PIPELINE=batch_prediction").succeeded()
    return "the answers stand alone"


def table_with_keys(walk: Walk) -> None:
    """Keep a column beside the answers."""
    column = walk.project.python(
        f"from {walk.project.package.name}.schema import FEATURES; print([*FEATURES][0])"
    )
    walk.setting("predict", keep=[column.out.strip()])
    walk.make("run PIPELINE=batch_prediction").succeeded()
    commit(walk.project.path, "Answers with a key")


@contextmanager
def started(
    walk: Walk, *arguments: str, stdout: int = subprocess.DEVNULL
) -> Iterator["subprocess.Popen[str]"]:
    """Run a verb for as long as this is open."""
    process = subprocess.Popen(
        ["make", *arguments],
        cwd=walk.project.path,
        env=machine(),
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # make, and what it started.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


@contextmanager
def serving(walk: Walk) -> Iterator[str]:
    """Serve the champion for as long as this is open, and give the server's address."""
    port = engine.free_port()
    walk.typed.add("make serve")
    url = f"http://127.0.0.1:{port}"
    with started(walk, "serve", f"PORT={port}") as process:
        deadline = time.monotonic() + SERVER_STARTS
        while walk.project.make("predict", f"URL={url}").code:
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline
        yield url


def own_answer(walk: Walk) -> None:
    """Add a column to what a client gets."""
    walk.project.edit(
        "serving/predictor.py",
        '"answer": science.predict(model, rows)',
        '"answer": science.predict(model, rows), "rows": rows.notna().sum(axis=1)',
    )
    walk.make("format").succeeded()
    test = walk.project.path / "serving/test_predictor.py"
    text = test.read_text("utf-8").replace(
        'if name != "answer"', 'if name not in ("answer", "rows")'
    )
    test.write_text(text, encoding="utf-8")
    walk.make("test").succeeded()
    commit(walk.project.path, "Something of our own in the answer")


SHIFTED = "artifacts/workshop/shifted.csv"


def old_world(walk: Walk) -> str:
    """Have the alarm raised, and train again on the data of before."""
    walk.setting("monitor", source=SHIFTED)
    walk.make("run PIPELINE=monitoring").succeeded()
    return "as the world was"


def kept_registered(walk: Walk) -> str:
    """Train on the world as it is, and leave it at that."""
    walk.setting("ingest", source=SHIFTED)
    walk.make("run PIPELINE=monitoring").succeeded()
    return "was never released"


def kept_released(walk: Walk) -> str:
    """Release it, and do not go back."""
    walk.before = walk.champion
    walk.make("release").succeeded()
    return "is released now"


def there_and_back(walk: Walk) -> None:
    """Bring back the champion of before."""
    walk.make(f"release RUN={walk.before}").succeeded()
    walk.settings_back()


def moved(walk: Walk) -> str:
    """Say where the template is, and stop there."""
    answers = walk.project.path / ".copier-answers.yml"
    text = re.sub(
        r"_src_path: .*", "_src_path: artifacts/workshop/template", answers.read_text("utf-8")
    )
    answers.write_text(text, encoding="utf-8")
    commit(walk.project.path, "The template has moved")
    return "it has 999.0.0"


def by_hand(walk: Walk) -> str:
    """Write the new release into the answers, as if that brought it."""
    walk.project.edit(".copier-answers.yml", "_commit: 999.0.0", "_commit: 999.0.0.1")
    commit(walk.project.path, "Updated?")
    return "is as it was"


def updated(walk: Walk) -> None:
    """Take that back, and bring the update."""
    git(walk.project.path, "revert", "--no-edit", "HEAD")
    assert "999.0.0.1" in walk.make("update-check").out
    walk.make("update PREVIEW=1").succeeded()
    walk.make("update QUICK=1").succeeded()
    assert f"steps/{STEP}/Dockerfile" in walk.git("show --stat")
    walk.make("check test").succeeded()
    walk.make("run").succeeded()


def own_data(walk: Walk) -> None:
    """Bring a table of one's own, and a first model of it."""
    walk.project.shipped_data("data/own.csv")
    walk.setting("ingest", source="data/own.csv", seed=11)
    (walk.project.path / "artifacts/models/champion.json").unlink()
    walk.make("run").succeeded()
    walk.make("release").succeeded()


SOLUTIONS: dict[int, Solution] = {
    1: Solution((run_once,), run_and_report),
    2: Solution((nothing_changed, other_seed), one_parameter),
    3: Solution((of_the_batch, divided_by_zero, not_trained), trained),
    4: Solution((wider_schema,), mended),
    5: Solution((unheard, idle, not_accepted), accepted),
    6: Solution((only_released, lower_bar), a_better_model),
    7: Solution((table_without_keys,), table_with_keys),
    8: Solution((old_world, kept_registered, kept_released), there_and_back),
    9: Solution((moved, by_hand), updated),
    12: Solution((), own_data),
}
