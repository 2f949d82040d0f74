"""A table of what is in a data set, column by column."""

import html

import pandas as pd

STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
div { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #8886; padding: .25rem .75rem; text-align: right; }
th:first-child { text-align: left; }
.problem { color: #c62828; }
"""


def profile(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per column: type, missing and distinct values; of numbers, mean and quartiles too."""
    numbers = frame.select_dtypes("number").astype("float64")
    quartiles = numbers.quantile([0.0, 0.25, 0.5, 0.75, 1.0]).T
    quartiles.columns = pd.Index(["min", "25%", "median", "75%", "max"])
    table = pd.DataFrame(
        {
            "type": frame.dtypes.astype(str),
            "missing": frame.isna().sum(),
            "distinct": frame.nunique(),
            "mean": numbers.mean(),
            "std": numbers.std(),
        }
    )
    return table.join(quartiles).reindex(frame.columns)


def page(title: str, frame: pd.DataFrame, problems: list[str]) -> str:
    """A self-contained HTML page: the profile, and above it what is wrong with the data."""
    table = profile(frame).to_html(
        border=0, na_rep="", float_format=lambda value: f"{value:.4g}", justify="right"
    )
    listed = "".join(f"<li class='problem'>{html.escape(problem)}</li>" for problem in problems)
    verdict = f"<ul>{listed}</ul>" if problems else "<p>No rule of the schema is broken.</p>"
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'>"
        f"<meta name='viewport' content='width=device-width'><title>{html.escape(title)}</title>"
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1>"
        f"<p>{len(frame):,} rows, {frame.shape[1]} columns</p>{verdict}<div>{table}</div></html>"
    )
