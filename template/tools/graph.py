"""The picture of a pipeline: where each step stands, and the lines between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from runtime.records import StepRecord
from tools.pages import duration

HEIGHT = 52
# Between two steps, along the lines and across them.
ALONG, ACROSS = 44, 20
# Widths of a letter and of what surrounds a name.
LETTER, FRAME = 8.2, 62
LONGEST = 22


@dataclass(frozen=True)
class Node:
    """A step: its place, and what is written there."""

    x: float
    y: float
    name: str
    title: str
    state: str
    detail: str
    within: str


@dataclass(frozen=True)
class Graph:
    """A drawing; sizes are in CSS pixels."""

    width: float
    height: float
    node_width: float
    node_height: float
    nodes: list[Node]
    lines: list[str]
    """The `d` of an SVG path for each line."""


def draw(steps: Mapping[str, StepRecord], *, down: bool) -> Graph:
    """Place the steps in layers, each below or to the right of what it waits for.

    A line that other lines imply is left out.
    """
    edges = reduced({name: step.after or [] for name, step in steps.items()})
    if all(step.after is None for step in steps.values()):
        # The record does not say, so all that is known is the order.
        layer = {name: place for place, name in enumerate(steps)}
    else:
        layer = layers(edges)
    rows = [[name for name in steps if layer[name] == depth] for depth in range(len(steps))]
    rows = [row for row in rows if row]
    # A line that passes a layer gets a place of its own there.
    routes: dict[tuple[str, str], list[tuple[int, int]]] = {}
    place = {name: (depth, i) for depth, row in enumerate(rows) for i, name in enumerate(row)}
    sizes = [len(row) for row in rows]
    for name, before in edges.items():
        for other in before:
            points = [place[other]]
            for depth in range(layer[other] + 1, layer[name]):
                points.append((depth, sizes[depth]))
                sizes[depth] += 1
            routes[other, name] = [*points, place[name]]

    longest = max((min(len(name), LONGEST) for name in steps), default=0)
    wide = max(FRAME + LETTER * longest, 132)
    along, across = (HEIGHT, wide) if down else (wide, HEIGHT)
    breadth = max(sizes, default=0) * (across + ACROSS) - ACROSS

    def corner(depth: int, index: int) -> tuple[float, float]:
        used = sizes[depth] * (across + ACROSS) - ACROSS
        a = depth * (along + ALONG)
        b = (breadth - used) / 2 + index * (across + ACROSS)
        return (b, a) if down else (a, b)

    def path(points: Sequence[tuple[int, int]]) -> str:
        commands: list[str] = []
        for (depth, index), (depth_after, index_after) in pairwise(points):
            x, y = corner(depth, index)
            to_x, to_y = corner(depth_after, index_after)
            if down:
                x, y, to_x = x + wide / 2, y + HEIGHT, to_x + wide / 2
                middle = (y + to_y) / 2
                curve = f"C{x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {to_y:g}"
                past = f"V{to_y + HEIGHT:g}"
            else:
                x, y, to_y = x + wide, y + HEIGHT / 2, to_y + HEIGHT / 2
                middle = (x + to_x) / 2
                curve = f"C{middle:g} {y:g} {middle:g} {to_y:g} {to_x:g} {to_y:g}"
                past = f"H{to_x + wide:g}"
            passing = (depth_after, index_after) != points[-1]
            commands += [f"M{x:g} {y:g}" if not commands else "", curve, past if passing else ""]
        return "".join(commands)

    nodes = []
    for name, step in steps.items():
        x, y = corner(*place[name])
        detail = f"{step.state}, {duration(step.seconds)}" if step.seconds else step.state
        short = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
        within = step.within[-1] if step.within else ""
        nodes.append(Node(x, y, name, short, step.state, detail, within))
    length = len(rows) * (along + ALONG) - ALONG
    return Graph(
        width=breadth if down else length,
        height=length if down else breadth,
        node_width=wide,
        node_height=HEIGHT,
        nodes=nodes,
        lines=[path(points) for points in routes.values()],
    )


def reduced(after: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """For each step what it waits for, without what those wait for themselves."""
    known = {name: [other for other in before if other in after] for name, before in after.items()}
    ancestors: dict[str, set[str]] = {}

    def above(name: str) -> set[str]:
        if name not in ancestors:
            ancestors[name] = set()
            for other in known[name]:
                ancestors[name] |= {other, *above(other)}
        return ancestors[name]

    return {
        name: [other for other in before if not any(other in above(third) for third in before)]
        for name, before in known.items()
    }


def layers(edges: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """For each step the number of steps on the longest way to it."""
    found: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in found:
            found[name] = max((depth(other) + 1 for other in edges[name]), default=0)
        return found[name]

    for name in edges:
        depth(name)
    return found
