"""`make bench` still measures what it says."""

from collections.abc import Callable
from pathlib import Path

import engine
import pytest
from conftest import Template
from projects import flavour, life, machine, restored
from pytest_copie.plugin import Copie
from rich.console import Console

from scripts import bench, bench_updates
from scripts.bench import Figure
from scripts.bench_images import Images
from scripts.screen import Refused


def test_limits() -> None:
    """A limit is one of the ratio, or of the seconds; without a limit there is nothing to keep."""
    assert Figure("a", 1.2, 1.0, limit=1.15).kept is False
    assert Figure("a", 1.1, 1.0, limit=1.15).kept is True
    assert Figure("a", 0.1, 0.01, limit=0.2, absolute=True).kept is True
    assert Figure("a", 0.3, 0.3, limit=0.2, absolute=True).kept is False
    assert Figure("a", 0.3).kept is None


def test_they_take_turns() -> None:
    """A B A B, after one of each to warm up; the median hides an outlier."""
    order = []

    def measure(name: str, *values: float) -> Callable[[], float]:
        left = iter(values)

        def run() -> float:
            order.append(name)
            return next(left)

        return run

    assert bench.take_turns(3, measure("a", 9, 1, 5, 2), measure("b", 9, 3, 3, 9)) == [2, 3]
    assert order == ["a", "b"] * 4


def test_table() -> None:
    """Each figure stands beside its floor, its parts below it."""
    figures = [
        Figure("copy", 1.2, 1.0, "plain files", limit=1.15),
        Figure("all", 3.0, parts={"copy": 1.0}),
    ]
    console = Console(width=120)
    with console.capture() as capture:
        console.print(bench.table(figures))
    lines = [line.split() for line in capture.get().splitlines()]
    assert ["copy", "1.20", "1.00", "1.20", "1.15x", "plain", "files"] in lines
    assert ["copy", "1.00"] in lines


def test_a_command_that_fails(tmp_path: Path) -> None:
    """A failure is no measurement."""
    with pytest.raises(Refused, match="no ducks"):
        bench.seconds(["sh", "-c", "echo no ducks; exit 1"], tmp_path)


def test_updates_by_size(tmp_path: Path) -> None:
    """Updates of projects that differ in size are done, and take time and memory."""
    found = bench_updates.costs(tmp_path, 1, bench.environment(), None, sizes=(3,))
    found += bench_updates.fleet_costs(tmp_path / "fleet", bench.environment(), (2,), 3)
    assert {cost.way for cost in found} == {"make update", "copier update", "make fleet-update"}
    assert all(cost.seconds > 0 and cost.megabytes > 10 for cost in found)


@pytest.mark.project
@pytest.mark.engine
@pytest.mark.parametrize("name", [flavour("laptop")])
def test_images(name: str, template: Template, copie_session: Copie) -> None:
    """An edit of the model builds some images again, and each weighs something."""
    engine.require()
    with restored(life(name, template, copie_session).project) as project:
        assert bench.tags(project.path, rounds=1).kept is not None
        images = Images(project.path, machine())
        figure = bench.edit(images)
        weights = images.weights()
    assert 0 < len(figure.parts) < len(weights)
    assert figure.seconds >= max(figure.parts.values())
    for weight in weights:
        assert weight.base > 0
        assert weight.dependencies > 0
        assert 0 < weight.ours < 1
    console = Console(width=120)
    with console.capture() as capture:
        console.print(bench.scales(weights))
    assert f"{weights[0].base:.1f}" in capture.get()


@pytest.mark.project
@pytest.mark.parametrize("name", [flavour("laptop")])
def test_measurements(
    name: str,
    template: Template,
    copie_session: Copie,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once round, everything can be measured, and nothing is out of all proportion."""
    monkeypatch.setattr(bench, "ROOT", template.path)
    with restored(life(name, template, copie_session).project) as project:
        figures = [
            bench.copy(tmp_path, rounds=1),
            *bench.unchanged_run(project.path, rounds=1),
            bench.compiling(project.path, rounds=1),
            bench.update(project.path, tmp_path, rounds=1),
            bench.step(project.path, rounds=1),
        ]
    for figure in figures:
        assert figure.ratio is not None
        assert 0 < figure.ratio < 10, figure
