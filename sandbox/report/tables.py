"""Tables: claims and summaries on the terminal, as Markdown, and as CSV."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.report.claims import RELATIONS, Claim

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]


def number(value: Any) -> str:
    """A number in at most six significant digits; everything else as it prints."""
    if isinstance(value, bool) or not hasattr(value, "__float__") or isinstance(value, str):
        return "" if value is None else str(value)
    value = float(value)
    return "NaN" if math.isnan(value) else f"{value:.6g}"


def expectation(claim: Claim) -> str:
    """≈ 2 ± 0.04, ≤ 1, ≥ 0.9 − 0.1: what the claim asks of the measured number."""
    relation = RELATIONS[claim.relation]
    sign = {"≈": "±", "≤": "+", "≥": "−"}[relation]
    slack = f" {sign} {number(claim.tolerance)}" if claim.tolerance else ""
    return f"{relation} {number(claim.expected)}{slack}"


def claim_rows(claims: Iterable[Claim]) -> list[dict[str, str]]:
    """One row a claim: expected, measured, verdict, source."""
    return [
        {
            "claim": claim.name,
            "expected": expectation(claim),
            "measured": number(claim.measured),
            "verdict": "holds" if claim.holds else "FAILS",
            "source": claim.source,
        }
        for claim in claims
    ]


def claims_table(claims: Iterable[Claim], title: str | None = None) -> "Table":
    """The claims for a terminal; a verdict is a word and a colour."""
    from rich.text import Text

    rows: list[dict[str, Any]] = []
    for row in claim_rows(claims):
        colour = "green" if row["verdict"] == "holds" else "bold red"
        rows.append({**row, "verdict": Text(row["verdict"], style=colour)})
    return table(rows, title)


def table(rows: Sequence[Row], title: str | None = None) -> "Table":
    """Any rows for a terminal; the columns are the keys in the order in which they first occur."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=None if title is None else escape(title), title_justify="left", header_style="bold")
    for name in columns(rows):
        drawn.add_column(escape(name), justify="right" if _is_numeric(rows, name) else "left")
    for row in rows:
        cells = (row.get(name) for name in columns(rows))
        drawn.add_row(*(cell if isinstance(cell, Text) else Text(number(cell)) for cell in cells))
    return drawn


def markdown(rows: Sequence[Row]) -> str:
    """Any rows as a Markdown table."""
    names = columns(rows)
    if not names:
        return ""
    rule = ["---:" if _is_numeric(rows, name) else "---" for name in names]
    lines = [names, rule, *([number(row.get(name)) for name in names] for row in rows)]
    return (
        "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
        )
        + "\n"
    )


def write_csv(path: str | Path, rows: Sequence[Row]) -> Path:
    """Any rows as CSV, numbers in full: what was summed up can be computed with again."""
    import csv

    path = Path(path)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns(rows), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _full(value) for name, value in row.items()} for row in rows)
    return path


def columns(rows: Sequence[Row]) -> list[str]:
    """Every key of any row, in the order of first occurrence."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _full(value: Any) -> Any:
    """NumPy and JAX numbers as Python's, which print all their digits and no type."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value


def _is_numeric(rows: Sequence[Row], name: str) -> bool:
    values = [row[name] for row in rows if row.get(name) is not None]
    return bool(values) and all(hasattr(v, "__float__") and not isinstance(v, str | bool) for v in values)
