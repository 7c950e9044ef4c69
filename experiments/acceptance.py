"""Every "done when" line as command, wanted, measured: `make acceptance` prints the table and writes it down.

Nothing here is remembered: installations are made in fresh clones, speeds are timed, tests are run, processes are
killed.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

benchmark = True
ROOT = Path(__file__).resolve().parent.parent


class Line(NamedTuple):
    """One line of the table."""

    line: str
    command: str
    wanted: str
    measured: str
    holds: bool


def shell(command: str, folder: Path = ROOT, **environment: str) -> tuple[int, str, float]:
    """Exit code, output and seconds of a command."""
    import os

    began = time.perf_counter()
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}
    )
    return done.returncode, done.stdout + done.stderr, time.perf_counter() - began


def fresh_clones() -> Iterator[Line]:
    """Both README commands in fresh clones, with nothing compiled or computed before."""
    with tempfile.TemporaryDirectory() as folder:
        cache, clone, other = Path(folder) / "cache", Path(folder) / "clone", Path(folder) / "other"
        for target in (clone, other):
            shell(f"git clone --quiet {ROOT} {target}")
        for line, limit in (("a bare machine: make reproduce", 300), ("the second make reproduce", 60)):
            code, text, seconds = shell("make reproduce", clone, XDG_CACHE_HOME=str(cache))
            held = re.search(r"(\d+) of (\d+) claims hold", text)
            verdict = held[0] if held else "no claims"
            reused = re.findall(r"([\d,]+) reused", text)
            holds = code == 0 and bool(held) and held[1] == held[2] and seconds <= limit
            if limit == 60:
                verdict += f"; runs reused: {', '.join(reused)}"
                holds &= text.count(" 0 computed now") == len(reused) > 0
            yield Line(
                line,
                "make reproduce",
                f"≤ {limit} s, exit 0, all claims",
                f"{seconds:.0f} s, exit {code}, {verdict}",
                holds,
            )
        code, text, seconds = shell("make test", other, XDG_CACHE_HOME=str(cache / "other"))
        last = next((part for part in reversed(text.splitlines()) if "passed" in part), text.strip()[-80:])
        yield Line(
            "a bare machine: make test",
            "make test",
            "≤ 360 s, exit 0",
            f"{seconds:.0f} s, exit {code}, {last}",
            code == 0 and seconds <= 360,
        )


def speeds() -> Iterator[Line]:
    """The table of experiments/speed.py, against what is wanted of each of its rows."""
    code, text, _ = shell(f"{sys.executable} experiments/speed.py")
    wanted = {
        ("from sandbox.engine import run", "import jax"): ("≤ 1.25× the time of import jax", 1 / 1.25),
        ("import sandbox", "an empty"): ("at once: ≤ 1.5× an empty program", 1 / 1.5),
        ("Rosenbrock", "Python loop"): ("≥ 2,500×", 2500),
        ("digits MLP", "by hand"): ("≤ 1.05× the time of the sweep by hand", 1 / 1.05),
        ("digits MLP", "Python loop"): ("≥ 5×", 5),
    }
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    for (what, rival), (words, least) in wanted.items():
        found = [row for row in rows if what in row[0] and rival in row[2]]
        ratio = float(found[0][4].split()[0]) if code == 0 and found else float("nan")
        times = f"{found[0][1]} against {found[0][3]}: {found[0][4]}×" if found else text[-80:]
        yield Line(f"speed: {what}, {rival}", "python experiments/speed.py", words, times, ratio >= least)


def deviations() -> Iterator[Line]:
    """A swept lane against the same run alone, at every rate up to the best one, after 100 steps."""
    code = """
import jax, numpy as np, sandbox
sandbox.use_all_cores()
from sandbox import optimizers, problems
from sandbox.engine import run
from sandbox.sweeps import log, sweep
for x64 in (True, False):
    worst = 0.0
    with jax.enable_x64(x64):
        convex = problems.breast_cancer_logistic()
        for problem, batch in ((problems.rosenbrock(), None), (problems.digits_mlp(), 64), (convex, 16)):
            for method in (optimizers.adam, optimizers.gradient_descent):
                def train(learning_rate, seed):
                    return run(problem, method(learning_rate), steps=100, batch_size=batch, key=jax.random.key(seed))
                ds = sweep(train, learning_rate=log(1e-5, 1.0, 24), seed=[5, 6])
                safe = ds.value.where((ds.status == 0).all("seed")).mean("seed")
                best, alone = int(np.nanargmin(safe.values)), jax.jit(train)
                for rate in ds.learning_rate.values[: best + 1]:
                    one, lane = alone(rate, 6), ds.sel(learning_rate=rate, seed=6)
                    loss = np.asarray(one.trace["loss"])
                    worst = np.maximum(worst, np.max(np.abs(lane.loss.values - loss) / np.abs(loss)))
    print(worst)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    found = [*map(float, done.stdout.split()), float("nan"), float("nan")][:2]
    for name, value, limit in zip(("float64", "float32"), found, (1e-10, 1e-5), strict=True):
        yield Line(
            f"a swept lane equals the run alone, {name}", "three problems × two methods × rates up to the best",
            f"≤ {limit:g} relative", f"{value:.1e}", value <= limit,
        )  # fmt: skip


TESTS = {
    "a diverged lane is marked, keeps finite params": "tests/test_run.py -k 'diverge or overflow or infinite'",
    "the other lanes are bit-identical": "tests/test_sweep.py -k never_notice",
    "kill −9, start again: only the rest, bit for bit": "tests/test_store.py -k killed",
    "bad input: one line, exit code 2, nothing written": "tests/test_cli.py",
    "semantic mutants of each optimizer are killed": "tests/test_mutants.py",
    "each claim fails for a broken method": "tests/test_experiments.py",
}


def tests() -> Iterator[Line]:
    """Lines whose measurement is a test."""
    for line, arguments in TESTS.items():
        code, text, _ = shell(f"{sys.executable} -m pytest {arguments}  -o addopts= --no-header -q")
        last = text.strip().splitlines()[-1]
        yield Line(line, f"pytest {arguments}", "all pass", last, code == 0)


def main() -> int:
    """Measure every line; the number of those that do not hold."""
    from rich.console import Console

    from sandbox import report

    lines = []
    parts: list[Callable[[], Iterator[Line]]] = [speeds, deviations, tests, fresh_clones]
    for part in parts:
        for line in part():
            print(f"{'holds' if line.holds else 'FAILS'}  {line.line}: {line.measured}", flush=True)
            lines.append(line)
    rows = [{**line._asdict(), "holds": "holds" if line.holds else "FAILS"} for line in lines]
    folder = ROOT / "results" / "acceptance"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(report.markdown(rows))
    Console(width=200).print(report.table(rows, "acceptance"))
    return sum(not line.holds for line in lines)


if __name__ == "__main__":
    sys.exit(min(1, main()))
