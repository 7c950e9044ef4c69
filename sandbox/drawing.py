"""What a command shows: tables on the terminal, figures in files."""

import inspect
from pathlib import Path
from typing import Any

import typer


def caption(thing: Any) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def show(title: str, columns: tuple[str, ...], rows: list[tuple]) -> None:
    """A table on the terminal."""
    from sandbox.report import table

    print_(table([dict(zip(columns, row, strict=True)) for row in rows], title))


def print_(thing: Any) -> None:
    """Text or a table; wide enough for a line of a table where the output is a file."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    console.print(thing)


def show_sweep(ds: Any, names: list[str], title: str) -> None:
    """The points of a sweep with the lowest medians over the seeds."""
    stacked = ds[["value", "status"]].stack(at=names) if names else ds[["value", "status"]].expand_dims(at=1)
    points = stacked.transpose("at", "seed")
    median = points.value.median("seed", skipna=False).values
    rows = []
    for i in [i for i in median.argsort() if median[i] == median[i]][:8]:
        point, values = points.isel(at=i), points.value.values[i]
        labels = [
            f"{point[name].item():.4g}" if point[name].dtype.kind == "f" else str(point[name].item()) for name in names
        ]
        rows.append((*labels, f"{median[i]:.6g}", f"{values.min():.6g} … {values.max():.6g}"))
    show(title, (*names, "median objective", "range over seeds"), rows)


def show_tuned(tuned: Any, title: str) -> None:
    """Best rate, value, safe range and margin on one screen, and what to know of them."""
    numbers = ("learning rate", "median objective", "range over seeds", "safe range", "margin to the cliff")
    spread, safe = (
        f"{low:.6g} … {high:.6g}" for low, high in ((tuned.low, tuned.high), (tuned.safe_low, tuned.safe_high))
    )
    row = (f"{tuned.learning_rate:.4g}", f"{tuned.value:.6g}", spread, safe, f"{tuned.margin:.3g} ×")
    known = tuned.learning_rate == tuned.learning_rate
    if known:
        unknown = tuned.margin != tuned.margin
        show(title, numbers, [(*row[:3], "none", "") if unknown else row])
    if tuned.search is not None:
        others = ", ".join(f"{name} = {value:.4g}" for name, value in tuned.point.items() if name != "learning_rate")
        points, steps = tuned.search.sizes["point"], int(tuned.search.steps.sum())
        typer.echo(f"{points} points searched in {steps:,} steps{'; the best has ' if others else ''}{others}")
    runs, computed = tuned.dataset.status.size, tuned.dataset.attrs.get("lanes_computed")
    reused = "" if computed is None else f", {runs - computed} of them were in the store already"
    typer.echo(f"{runs} runs{reused}; {int((tuned.dataset.status == 1).sum())} diverged")
    for note in tuned.notes:
        typer.echo(f"note: {note}")


def draw_run(path: Path, result: Any, problem: Any, title: str) -> None:
    """The objective along a run, as the gap to the minimum where that is known."""
    import matplotlib.pyplot as plt
    import numpy as np

    from sandbox.report.plots import convergence, style

    best = problem.facts.minimum
    with style():
        figure, ax = plt.subplots()
        values = np.asarray(result.trace["loss"]) - (0.0 if best is None else float(best))
        convergence(ax, {title: values}, steps=np.asarray(result.steps), ylabel="loss" if best is None else "$f - f^*$")
    save(figure, path)


def draw_sweep(path: Path, ds: Any, names: list[str], title: str) -> None:
    """The final objective along the first axis of a sweep, a curve for each value of the second."""
    import matplotlib.pyplot as plt

    from sandbox.report.plots import rate_curve, style

    along, *others = names
    rest = ds.value.transpose("seed", *others, along)
    cells = rest.stack(cell=others).transpose("cell", "seed", along) if others else rest.expand_dims("cell")
    labels = [", ".join(f"{n} {v.item():.4g}" if v.dtype.kind == "f" else f"{n} {v.item()}" for n, v in (
        (n, cell[n]) for n in others)) or title for cell in cells]  # fmt: skip
    with style():
        figure, ax = plt.subplots()
        rate_curve(ax, dict(zip(labels, (c.values for c in cells), strict=True)), rates=ds[along].values)
        ax.set(xlabel=along.replace("_", " "), title=title, ylabel="final objective")
    save(figure, path)


def draw_tuned(path: Path, tuned: Any, problem: Any, title: str) -> None:
    """The U of a tuned learning rate, as the gap to the minimum where that is known."""
    import matplotlib.pyplot as plt

    from sandbox.report.plots import style, tuning

    best = float(problem.facts.minimum or 0)
    table = tuned.dataset.transpose("learning_rate", "seed")
    with style():
        figure, ax = plt.subplots()
        tuning(
            ax,
            table.learning_rate.values,
            table.value.values - best,
            start=float(table.start.median()) - best,
            best=tuned.learning_rate,
            safe=(tuned.safe_low, tuned.safe_high),
            ylabel="final objective" if problem.facts.minimum is None else "final $f - f^*$",
        )
        ax.set(title=title)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a figure where it was asked for."""
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: the figure cannot be written ({error}); give a .png or .svg in a folder") from error
    typer.echo(f"{path} written")
