"""Reproduce: run the experiments, keep what they computed, and tell what they found."""

import ast
import contextlib
import inspect
import io
import multiprocessing
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from sandbox import store as stores
from sandbox.report.claims import Claim


class Findings(NamedTuple):
    """What an experiment's main(fast) returns."""

    figures: dict[
        str, tuple[Any, str]
    ]  # name → (figure, caption), "figure" the main one; NAME.gif, NAME.html → (bytes, caption)
    claims: list[Claim]
    sweeps: Sequence[Any] = ()  # the datasets that it rests on
    summary: Sequence[dict[str, Any]] = ()  # rows of summary.csv


class Part(NamedTuple):
    """One part of an experiment: its claims, its panel if it has one, and the sweeps that it rests on."""

    claims: list[Claim]
    draw: Callable[[Any], None] | None = None  # onto axes
    sweeps: tuple[Any, ...] = ()


def findings(parts: Sequence[Part], caption: str, rows: int = 1, panel: tuple[float, float] = (4.8, 4.4)) -> Findings:
    """Of all parts together: their claims, and one figure of their panels in rows, each of so many inches."""
    import matplotlib.pyplot as plt

    from sandbox.report.plots import style

    drawn = [part.draw for part in parts if part.draw]
    columns = len(drawn) // rows
    with style():
        figure, axes = plt.subplots(rows, columns, figsize=(panel[0] * columns, panel[1] * rows))
        for ax, draw in zip(axes.flat, drawn, strict=True):
            draw(ax)
    claims = [claim for part in parts for claim in part.claims]
    return Findings({"figure": (figure, caption)}, claims, [ds for part in parts for ds in part.sweeps])


def kept(experiment: str, name: str, fast: bool, fn: Callable[..., Any], /, **axes: Any) -> Any:
    """A sweep in the experiment's results folder: found there when nothing has changed, made anew when something has.

    `experiment` is the __file__ of the script. Unlike a user's store, this one is only a copy of what can be computed
    again, so that one made by another program is replaced.
    """
    from sandbox.sweeps import sweep

    path = results(Path(experiment), fast) / f"{name}.zarr"
    try:
        return sweep(fn, store=path, **axes)
    except stores.OtherProgram:
        shutil.rmtree(path)
        return sweep(fn, store=path, **axes)


def results(experiment: Path, fast: bool) -> Path:
    """results/NAME beside experiments/, or results/fast/NAME."""
    root = experiment.resolve().parent.parent / "results"
    return (root / "fast" if fast else root) / experiment.stem


def folder_of_experiments(missing_ok: bool = False) -> Path:
    """experiments/ here or in a parent."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "experiments" / "__init__.py").is_file():
            return folder / "experiments"
    if missing_ok:
        return Path()
    raise ValueError(f"no experiments/ in {Path.cwd().name} or a parent; run this in a checkout of the project")


def files(folder: Path, without: str = "benchmark") -> list[Path]:
    """The scripts of a folder that are experiments: those with a main that do not say `benchmark = True`.

    Those that say `on_request = True`, since they take minutes or need data, run where they are named.
    """
    scripts = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    return [path for path in scripts if not re.search(rf"^({without}) = True\b", path.read_text(), re.MULTILINE)]


def docstring(script: Path) -> str:
    """What a script says of itself."""
    return ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""


def about(text: str) -> dict[str, str]:
    """Title, question, prediction and found, from an experiment's docstring; and data, of one that takes a folder."""
    title, *paragraphs = (" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))
    texts = dict(re.match(r"(?:(Question|Prediction|Found|Data): )?(.*)", part).groups() for part in paragraphs)  # type: ignore[union-attr, misc]
    return {"title": title.rstrip("."), **{name.lower(): text for name, text in texts.items() if name}}


def _nothing() -> None:
    """No preparation."""


def reproduce(
    folder: Path,
    names: Iterable[str],
    fast: bool,
    tell: Callable[[Any], None],
    processes: int = 1,
    prepare: Callable[[], Any] = _nothing,
    data: Path | None = None,
) -> int:
    """Run experiments by name, all where none is given; write their results and the page. Returns how many claims fail.

    `data` is a folder with data of the user's, for those whose main takes one.
    `tell` gets every line and table, as it comes. With more processes, some experiments run at a time: most of their
    time is spent in one thread, which compiles or draws. `prepare`, which can be sent to them, is called there first.
    """
    from sandbox import report
    from sandbox.lookup import nearest

    known = {path.stem: path for path in files(folder)}
    chosen = list(names) or [path.stem for path in files(folder, "benchmark|on_request")]
    if not chosen:
        raise ValueError(f"{_short(folder)} has no experiment that runs without being named")
    for name in chosen:
        if name not in known:
            raise ValueError(f"no experiment is called '{name}'{nearest(name, known)}; there are {', '.join(known)}")
    wanted = {name: text["data"] for name in chosen if "data" in (text := about(docstring(known[name])))}
    if wanted and data is None:
        raise ValueError("; ".join(f"{name} needs --data FOLDER: {what}" for name, what in wanted.items()))
    if data is not None and not wanted:
        raise ValueError(f"--data {data}: no experiment of these takes any: {', '.join(chosen)}")
    failed = total = 0
    scripts = [known[name] for name in chosen]
    for verdict in _verdicts(scripts, fast, tell, min(processes, len(chosen)), prepare, data):
        tell(report.claims_table(verdict.claims, title=verdict.title))
        tell(verdict.line)
        failed += sum(not claim.holds for claim in verdict.claims)
        total += len(verdict.claims)
    page = report.page(results(known[chosen[0]], fast).parent)
    tell(f"{total - failed} of {total} claims hold; {_short(page)} shows every figure and verdict")
    return failed


class _Verdict(NamedTuple):
    title: str
    claims: list[Claim]
    line: str


def _verdicts(
    scripts: list[Path],
    fast: bool,
    tell: Callable[[Any], None],
    processes: int,
    prepare: Callable[[], Any],
    data: Path | None,
) -> Iterator[_Verdict]:
    """One after the other, or as they are done; what has not begun when one fails is left."""
    if processes < 2:
        for script in scripts:
            tell(f"{script.stem} …")
            yield _experiment(script, fast, data)
        return
    tell(f"{len(scripts)} experiments, {processes} at a time …")
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), prepare) as pool:
        verdicts = [pool.submit(_quietly, script, fast, data) for script in scripts]
        try:
            yield from (verdict.result() for verdict in as_completed(verdicts))
        finally:
            pool.shutdown(cancel_futures=True)


def _experiment(script: Path, fast: bool, data: Path | None) -> _Verdict:
    """Run one, and write its results."""
    from sandbox import report

    folder = script.parent
    sys.path.insert(0, str(folder.parent))
    began = time.perf_counter()
    module = import_module(f"{folder.name}.{script.stem}")
    text = about(module.__doc__ or "")
    found: Findings = module.main(fast, data) if "data" in text else module.main(fast)
    place = results(script, fast)
    report.write(place, figures=found.figures, claims=found.claims, summary=found.summary, about=text)
    line = f"  {_reused(found.sweeps)}{time.perf_counter() - began:.1f} s, in {_short(place)}"
    return _Verdict(text["title"], found.claims, line)


def _quietly(script: Path, fast: bool, data: Path | None) -> _Verdict:
    """What it says on the way, two bars over each other, comes at its end."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        verdict = _experiment(script, fast, data)
    return verdict._replace(line=verdict.line + f"\n{said.getvalue()}".rstrip())


def keep_validation(rows: Sequence[Any], folder: Path) -> Path:
    """The table of `parity.validate` as results of their own, a claim for every optimizer; returns the new page."""
    import matplotlib.pyplot as plt

    from sandbox import parity, report
    from sandbox.report.plots import agreement, style

    worst = {row.name: row.worst for row in rows}
    with style():
        figure, ax = plt.subplots(figsize=(max(6.4, 0.19 * len(rows)), 4.2))
        agreement(ax, worst, parity.TOLERANCE)
    caption = (
        f"The largest relative deviation of an update or a parameter from Optax over trajectories of {parity.STEPS} "
        f"steps in double precision on {len(parity.CURVES)} losses, at {len(rows)} optimizers' settings; the dashed "
        "line is what is allowed. Seeds are fixed by the number of the setting."
    )
    report.write(
        folder / "validation",
        figures={"figure": (figure, caption)},
        claims=[
            Claim(f"{row.name} is Optax's {row.twin}", row.worst, parity.TOLERANCE, "≤", 0.0, row.paper) for row in rows
        ],
        summary=[row._asdict() for row in rows],
        about={
            "title": "Is each optimizer what its paper says?",
            "question": "Does every optimizer, written from its paper, take the same steps as an independent one?",
            "prediction": "The same to rounding, but for terms where Optax departs from the paper; they are listed.",
            "found": f"{sum(row.passed for row in rows)} of {len(rows)} agree, keep dtypes, and take traced arguments.",
        },
    )
    return report.page(folder)


def _reused(sweeps: Sequence[Any]) -> str:
    """How many runs were computed, and how many were there from an earlier time."""
    runs = sum(ds.status.size for ds in sweeps)
    new = sum(ds.attrs["lanes_computed"] for ds in sweeps)
    if not runs:
        return ""
    return f"{runs:,} runs, {'all' if new == runs else f'{new:,}'} computed now, {runs - new:,} reused; "


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
