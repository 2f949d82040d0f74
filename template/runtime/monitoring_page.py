"""What was found of a released model, as a page to look at."""

from collections.abc import Sequence

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from runtime.monitoring import ColumnFound, Findings
from runtime.pictures import SERIES, STYLE, svg
from runtime.records import moment

MOST_PICTURES = 12
LONGEST = 9
HEADLINES = {"retrain": "The model is to be trained again", "keep": "The model is kept"}
TITLES = {"drift": "drift", "steady": "steady", "unknown": "not known", "worse": "worse"}
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>[[ headline ]]</title>
<style>
:root { color-scheme: light dark; --background: #fff; --line: #d5dbe3; --ink: #14181f;
  --muted: #556070; --series-1: #0a5bd0; --series-2: #b8540a; --good: #14722f; --bad: #b3141f; }
@media (prefers-color-scheme: dark) { :root { --background: #0f1318; --line: #333d4a;
  --ink: #e9edf2; --muted: #a0acba; --series-1: #74b3ff; --series-2: #ffab66; --good: #57ce78;
  --bad: #ff8a85; } }
* { box-sizing: border-box; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1.25rem; background: var(--background);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 .5rem; line-height: 1.2; } h2 { margin: 2.5rem 0 1rem; font-size: 1.3rem; }
.muted, dt, caption, thead th { color: var(--muted); font-size: .85rem; font-weight: 400; }
.drift, .worse, .retrain { color: var(--bad); } .steady, .keep { color: var(--good); }
.unknown { color: var(--muted); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: 1rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.pictures { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
figure { margin: 0; padding: .75rem 1rem; border: 1px solid var(--line); border-radius: .75rem; }
figcaption { font-weight: 600; } figcaption small { font-weight: 400; color: var(--muted); }
.chart { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; }
tbody th { font-weight: 500; white-space: nowrap; }
caption { text-align: left; padding-bottom: .5rem; }
.number { text-align: right; white-space: nowrap; }
.bar { display: inline-block; width: 6rem; height: .6rem; background: var(--line); }
.bar i { display: block; height: 100%; background: var(--series-1); }
.key { display: inline-block; width: 1.2rem; height: .2rem; vertical-align: middle; }
</style>
<h1 class="[[ found.verdict ]]">[[ headline ]]</h1>
<p>[[ found.reason[0] | upper ]][[ found.reason[1:] ]].</p>
<dl>
<div><dt>Model</dt><dd><code>[[ found.model_id ]]</code></dd></div>
<div><dt>Looked at</dt><dd>[[ found.looked_at | moment ]]</dd></div>
<div><dt>Rows</dt><dd>[[ "{:,}".format(found.rows) ]]<% if found.other_rows %>, and
[[ "{:,}".format(found.other_rows) ]] that other models answered<% endif %></dd></div>
<div><dt>From</dt><dd>[[ found.source ]]</dd></div>
<div><dt>Data</dt><dd class="[[ found.state ]]">[[ titles[found.state] ]]</dd></div>
<div><dt>Quality</dt><dd class="[[ found.quality.state ]]">[[ titles[found.quality.state] ]]</dd>
</div>
<div><dt>Registered</dt><dd>[[ found.registered_at | moment ]]</dd></div>
<div><dt>Newest training</dt><dd>[[ found.last_training | moment ]]</dd></div>
</dl>
<% if found.broken %>
<h2>The schema</h2>
<p class="worse">[[ "{:,}".format(found.broken_rows) ]] rows break it.</p>
<ul><% for rule in found.broken %><li>[[ rule ]]</li><% endfor %></ul>
<% endif %>
<h2>Quality</h2>
<p class="[[ found.quality.state ]]">[[ found.quality.reason ]]</p>
<% if found.quality.now %>
<div class="scroll"><table>
<thead><tr><th>metric<th class="number">now<th class="number">when trained</tr></thead>
<tbody>
<% for name, value in found.quality.now.items() %>
<tr><th>[[ name ]]<td class="number">[[ "%.4f" % value ]]
<td class="number">[[ "%.4f" % found.quality.then[name] if name in found.quality.then ]]</tr>
<% endfor %>
</tbody></table></div>
<% endif %>
<% if pictures %>
<h2>What has changed most</h2>
<p class="muted"><span class="key" style="background: var(--series-1)"></span> when it was trained
&nbsp; <span class="key" style="background: var(--series-2)"></span> now. The outermost bars have
all that lies beyond.</p>
<div class="pictures">
<% for column, picture in pictures %>
<figure><figcaption>[[ column.name ]] <small class="[[ column.state ]]">[[ titles[column.state] ]]
[[- ", an answer" if column.answer ]]</small></figcaption>[[ picture ]]</figure>
<% endfor %>
</div>
<% endif %>
<h2>Every column</h2>
<div class="scroll"><table>
<caption>A distance of 0: distributed as it was; 1: nothing in common. p: how probable so great a
distance is by chance, corrected for the number of columns.</caption>
<thead><tr><th>column<th>state<th>distance<th class="number"><th class="number">p
<th class="number">PSI<th class="number">missing<th class="number">before<th>reason</tr></thead>
<tbody>
<% for column in columns %>
<tr><th>[[ column.name ]][[ " (answer)" if column.answer ]]
<td class="[[ column.state ]]">[[ titles[column.state] ]]
<% if column.distance is none %><td><td><% else %>
<td><span class="bar"><i style="width: [[ (100 * column.distance) | round(1) ]]%"></i></span>
<td class="number">[[ "%.2f" % column.distance ]]<% endif %>
<td class="number">[[ column.p | chance if column.distance is not none ]]
<td class="number">[[ "%.2f" % column.psi if column.psi is not none ]]
<td class="number">[[ "%.1f%%" % (100 * column.missing_now) ]]
<td class="number">[[ "%.1f%%" % (100 * column.missing_before) ]]
<td>[[ column.reason ]]<% if column.new %>; new: [[ column.new | join(", ") ]]<% endif %></tr>
<% endfor %>
</tbody></table></div>
<% if found.unwatched %>
<p class="muted">Not watched, as the source does not have them: [[ found.unwatched | join(", ") ]].
</p>
<% endif %>
</html>
"""
ORDER = {"drift": 0, "unknown": 1, "steady": 2}


def page(findings: Findings) -> str:
    """A page that needs nothing beside it (HTML)."""
    columns = sorted(
        findings.columns, key=lambda column: (ORDER[column.state], -(column.distance or 0))
    )
    shown = [column for column in columns if column.now and column.before][:MOST_PICTURES]
    # In other brackets than those of the template that this file is part of.
    jinja = Environment(
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="[[",
        variable_end_string="]]",
        autoescape=True,
        undefined=StrictUndefined,
    )
    jinja.filters |= {"chance": _chance, "moment": moment}
    return jinja.from_string(PAGE).render(
        found=findings,
        headline=HEADLINES[findings.verdict],
        titles=TITLES,
        columns=columns,
        pictures=[(column, picture(column)) for column in shown],
    )


def picture(column: ColumnFound) -> Markup:
    """How a column was distributed, and how it is."""
    with rc_context(STYLE):
        figure = Figure(figsize=(4.6, 2.1))
        axes = figure.add_axes((0.1, 0.2, 0.88, 0.75))
        words = [str(place) for place in column.places if isinstance(place, str)]
        if words:
            _bars(axes, words, column)
        else:
            edges = [float(place) for place in column.places]
            for shares, colour in ((column.before, SERIES[0]), (column.now, SERIES[1])):
                axes.stairs(shares, edges, fill=True, color=colour, alpha=0.22)
                axes.stairs(shares, edges, color=colour, linewidth=1.5)
            axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(bottom=0)
        return svg(figure, f"{column.name}: shares of the rows before and now")


def _chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _bars(axes: Axes, words: Sequence[str], column: ColumnFound) -> None:
    place = np.arange(len(words))
    axes.bar(place - 0.2, column.before, 0.4, color=SERIES[0])
    axes.bar(place + 0.2, column.now, 0.4, color=SERIES[1])
    short = [word if len(word) <= LONGEST else f"{word[: LONGEST - 1]}…" for word in words]
    axes.set_xticks(place, short)
