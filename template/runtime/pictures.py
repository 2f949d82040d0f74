"""Pictures as inline SVG: small, and in the colours and fonts of the page around them.

matplotlib draws in stand-in colours, which become the page's CSS variables, so that one picture is
right by day and by night.
"""

import io
import re
from itertools import count
from typing import Any

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure

# CSS variables of the page, by the colour that stands for each while matplotlib draws.
INK, MUTED, LINE, BACKGROUND = "#000001", "#000002", "#000003", "#000004"
SERIES = ["#000011", "#000012", "#000013", "#000014", "#000015", "#000016"]
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    BACKGROUND: "background",
    **{colour: f"series-{place}" for place, colour in enumerate(SERIES, 1)},
}
STYLE: Any = {
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "font.size": 11,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "legend.fontsize": 11,
    "svg.fonttype": "none",
    "text.color": INK,
    # A column or a category may be called $so$.
    "text.parse_math": False,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.color": LINE,
    "ytick.labelcolor": MUTED,
}
_salts = count()


def svg(figure: Figure, label: str) -> Markup:
    """The figure for a place within a page: nothing in it reaches beyond it."""
    target = io.StringIO()
    with rc_context({"svg.hashsalt": f"chart-{next(_salts)}"}):
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    text = target.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    # Names that no one refers to, and which several pictures on a page would share.
    text = re.sub(r' id="[\w.]+_\d+"', "", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    view = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg class="chart" role="img" aria-label="{escape(label)}" {view[0] if view else ""}>'
    text = re.sub(r"\s*\n\s*", "\n", text[text.index(">") + 1 :])
    return Markup(head + text)  # noqa: S704 # matplotlib escapes what it writes
