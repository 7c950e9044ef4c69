"""results/index.html: every figure, every claim and its verdict on one page that works offline.

Figures are embedded, so the file can be sent alone.
"""

import base64
import os
from importlib import resources
from pathlib import Path
from typing import Any

from sandbox.report.results import read_all
from sandbox.report.tables import claim_rows, columns, number


def page(results: str | Path) -> Path:
    """Write index.html into a folder of results, from what lies there: nothing is run, nothing is fetched."""
    results = Path(results)
    target = results / "index.html"
    text = render(results)
    partial = target.with_name(".index.html.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, target)
    except OSError as error:
        raise ValueError(f"{target} cannot be written ({error.strerror}): name another results folder") from error
    return target


def render(results: str | Path) -> str:
    """The page as text; everything that an experiment wrote is escaped."""
    from jinja2 import Environment

    experiments: list[dict[str, Any]] = [
        {
            "result": result,
            "figures": [
                {"uri": _data_uri(file), "file": f"{result.name}/{file.name}", "caption": text}
                for file, text in result.figures
            ],
            "pages": [{"file": f"{result.name}/{file.name}", "caption": text} for file, text in result.pages],
            "rows": claim_rows(result.claims),
            "held": sum(claim.holds for claim in result.claims),
            "columns": columns(result.summary),
        }
        for result in read_all(results)
    ]
    source = resources.files("sandbox.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = _cell
    total = sum(len(entry["rows"]) for entry in experiments)
    return environment.from_string(source).render(
        experiments=experiments, total=total, held=sum(entry["held"] for entry in experiments)
    )


def _data_uri(file: Path) -> str:
    kind = {".svg": "image/svg+xml", ".png": "image/png", ".gif": "image/gif"}[file.suffix]
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def _cell(text: str) -> str:
    """A cell of summary.csv: numbers in six digits, whole numbers and words as they are."""
    try:
        return text if float(text).is_integer() and "e" not in text else number(float(text))
    except (TypeError, ValueError, OverflowError):
        return text or ""
