"""Every "done when" line as command, wanted, measured: `make acceptance` prints the tables and writes them down.

Nothing here is remembered: installations are made in fresh clones, speeds are timed, tests are run, processes are
killed. All of it takes an hour on two cores; each part has a table of its own.

    python experiments/acceptance.py                       all parts
    python experiments/acceptance.py speeds fresh_clones   these
"""

import json
import os
import re
import shlex
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


def engine() -> Iterator[Line]:
    """Sweeps beside their rivals and the machine."""
    yield from written("engine", lambda row: (f"{row['what']}: {row['against']}", row["ratio"]))


def limits() -> Iterator[Line]:
    """What a sweep costs beyond its steps."""
    yield from written("limits", lambda row: (row["what"], row["measured"]))


def rivals() -> Iterator[Line]:
    """The same trials by Optuna, Ray Tune and PyTorch."""
    yield from written("rivals", lambda row: (f"{row['what']}: {row['against']}", row["ratio"]))


def solutions() -> Iterator[Line]:
    """Certified optima in time, on the sets in $SANDBOX_DATA, or on data like them."""
    folder = os.environ.get("SANDBOX_DATA", "")
    yield from written("solve", lambda row: (row["what"], row["measured"]), folder)


def optima() -> Iterator[Line]:
    """Certified optima beside independent solvers."""
    command = "experiments/optima.py"
    _, text, _ = shell(f"{sys.executable} {command}")
    found = re.findall(r"^(\w[\w ]*): (\d+) cases, apart (\S+), certificate (\S+)$", text, re.MULTILINE)
    for kind, cases, apart, certificate in found or [("every kind", "0", "nan", "nan")]:
        yield Line(
            f"{kind}: f* beside another solver's, {cases} cases", f"python {command}", "≤ 1e-9; certificate ≤ 1e-8",
            f"{apart}; {certificate}", float(apart) <= 1e-9 and float(certificate) <= 1e-8,
        )  # fmt: skip


def accuracy() -> Iterator[Line]:
    """Digits from nothing; MNIST where $SANDBOX_MNIST names its folder."""
    mnist = os.environ.get("SANDBOX_MNIST", "")
    names = {"accuracy": ""} | ({"mnist": f"--data {shlex.quote(str(Path(mnist).resolve()))}"} if mnist else {})
    with tempfile.TemporaryDirectory() as folder:
        shell(f"git clone --quiet {ROOT} {folder}/clone")
        for name, options in names.items():
            told = Path(folder) / "clone" / "results" / name / "claims.json"
            told.unlink(missing_ok=True)
            code, _, seconds = shell(
                f"{sys.executable} -m sandbox reproduce {name} {options}", Path(folder) / "clone",
                PYTHONPATH=f"{folder}/clone", XDG_CACHE_HOME=f"{folder}/cache",
            )  # fmt: skip
            for claim in json.loads(told.read_text()) if told.exists() else []:
                measured, wanted = f"{float(claim['measured']):.2%}", f"≥ {claim['expected']:.1%}"
                yield Line(claim["name"], f"sandbox reproduce {name}", wanted, measured, claim["holds"])
            took = f"{seconds:.0f} s, exit {code}"
            yield Line(f"{name}: all of it", f"sandbox reproduce {name}", "≤ 180 s", took, seconds <= 180 and code == 0)


def landscape() -> Iterator[Line]:
    """Planes, spectra and maps in time."""
    beside = lambda row: (f"{row['what']}: {row['against']}", row["ratio"])
    alone = lambda row: (row["what"], row["measured"])
    (ROOT / "results" / "speed" / "curvature_times.csv").unlink(missing_ok=True)
    yield from written("landscape", beside)
    yield from written("curvature", beside)
    yield from table("curvature_times", "experiments/speed.py curvature", alone)
    yield from written("paths", alone)


GALLERY = (
    "basins", "connectivity", "curvature_map", "edge_of_stability", "escapes", "fractal", "ground", "profiles", "races",
    "spectra", "spurious_minima", "stability", "trainability", "walks",
)  # fmt: skip


def gallery() -> Iterator[Line]:
    """Every figure of the landscape with its claims, and drawn again from what is stored."""
    with tempfile.TemporaryDirectory() as folder:
        shell(f"git clone --quiet {ROOT} {folder}/clone")
        for name in GALLERY:
            command = f"{sys.executable} -m sandbox reproduce {name}"
            options = {"PYTHONPATH": f"{folder}/clone", "XDG_CACHE_HOME": f"{folder}/cache"}
            code, text, seconds = shell(command, Path(folder) / "clone", **options)
            held = re.search(r"(\d+) of (\d+) claims hold", text)
            said = f"{held[0] if held else text[-80:]}, {seconds:.0f} s, exit {code}"
            yield Line(f"gallery: {name}", f"sandbox reproduce {name}", "all claims hold", said, code == 0)
            code, text, seconds = shell(command, Path(folder) / "clone", **options)
            again = re.search(r"[\d,]+ runs, .* reused", text)
            holds = code == 0 and again is not None and " 0 computed now" in again[0]
            said = f"{again[0] if again else text[-80:]}, {seconds:.0f} s"
            yield Line(f"gallery: {name}, again", f"sandbox reproduce {name}", "nothing is computed", said, holds)


def scaling() -> Iterator[Line]:
    """Two processes beside two devices of one."""
    command = "python experiments/scaling.py"
    _, text, _ = shell(f"{sys.executable} experiments/scaling.py")
    found = re.search(r"Two processes against one .*: ([\d.]+) of its speed", text)
    measured = found[1] if found else text.strip().splitlines()[-1]
    yield Line(
        "two processes: one with two devices", command, "≥ 0.9", measured, bool(found and float(found[1]) >= 0.9)
    )


def written(name: str, told: Callable[[dict[str, str]], tuple[str, str]], folder: str = "") -> Iterator[Line]:
    """The table that a benchmark writes, a line for each of its rows."""
    command, file = f"experiments/speed.py {name}", ROOT / "results" / "speed" / f"{name}.csv"
    file.unlink(missing_ok=True)
    code, text, _ = shell(f"{sys.executable} {command} {folder}")
    if code != 0:
        yield Line(name, f"python {command}", "exit 0", text.strip().splitlines()[-1], False)
        return
    yield from table(name, command, told)


def table(name: str, command: str, told: Callable[[dict[str, str]], tuple[str, str]]) -> Iterator[Line]:
    """The lines of results/speed/NAME.csv, which a benchmark has just written."""
    import csv

    file = ROOT / "results" / "speed" / f"{name}.csv"
    if not file.exists():
        yield Line(name, f"python {command}", "a table", "none was written", False)
        return
    with file.open() as rows:
        for row in csv.DictReader(rows):
            yield Line(told(row)[0], f"python {command}", row["wanted"], told(row)[1], row["holds"] == "True")


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


def parity() -> Iterator[Line]:
    """Every optimizer's trajectory beside its Optax twin's."""
    import csv

    with tempfile.TemporaryDirectory() as folder:
        code, _, seconds = shell(
            f"{sys.executable} -m sandbox validate --results {folder}", XDG_CACHE_HOME=f"{folder}/cache"
        )
        with open(f"{folder}/validation/summary.csv", encoding="utf-8") as file:
            found = list(csv.DictReader(file))
    worst, cases = max(float(row["worst"]) for row in found), min(int(row["cases"]) for row in found)
    holds = code == 0 and worst <= 1e-9 and cases >= 6
    said = f"{len(found)} optimizers: {worst:.1e}, at least {cases} trajectories each, exit {code}"
    yield Line("parity with Optax in float64", "sandbox validate", "≤ 1e-9 relative, ≥ 6 each", said, holds)
    yield Line("sandbox validate takes", "sandbox validate", "≤ 120 s", f"{seconds:.0f} s", seconds <= 120)


def suite() -> Iterator[Line]:
    """Optax's own tests on our factories."""
    code, text, _ = shell(f"{sys.executable} experiments/optax_suite.py")
    counts = re.findall(r"^\d+ .*passed.*$", text, re.MULTILINE) or [text[-80:]]
    yield Line("Optax's own tests on our factories", "optax_suite.py", "exit 0", counts[-1], code == 0)


def steps() -> Iterator[Line]:
    """The speed of every optimizer beside Optax's, and of Adam beside the memory."""
    _, text, _ = shell(f"{sys.executable} experiments/speed.py optimizers")
    table = [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines() if row[:2] == "| "]
    mean, largest = ([float(x) for x in row[1:]] for row in table if " of " in row[0])
    command = "speed.py optimizers"
    for k, tree in enumerate(table[0][1:4]):
        said, holds = f"{mean[k]:.2f}, {largest[k]:.2f}", mean[k] <= 1.0 and largest[k] <= 1.1
        yield Line(f"a step of {tree}: ours / Optax's", command, "mean ≤ 1.0, largest ≤ 1.10", said, holds)
    yield Line("tracing 200 leaves: ours / Optax's", command, "≤ 1.5", f"{largest[3]:.2f}", largest[3] <= 1.5)
    share = float(re.findall(r"triad over .*: ([\d.]+)", text)[0])
    yield Line("bandwidth of Adam / triad, 28 bytes", command, "≥ 0.6", f"{share:.2f}", share >= 0.6)


def pages() -> Iterator[Line]:
    """How long an optimizer is."""
    import statistics

    lengths = page_lengths().values()
    said, holds = (
        f"{statistics.median(lengths):g} lines ({min(lengths)} … {max(lengths)})",
        statistics.median(lengths) <= 30,
    )
    yield Line("the median page of an optimizer", "the factory and what it alone uses", "≤ 30 lines", said, holds)


def page_lengths() -> dict[str, int]:
    """For each optimizer the lines of its factory and of what only it uses in its file."""
    import ast
    import inspect

    from sandbox.optimizers import catalogue

    lengths = {}
    for name, entry in catalogue.ENTRIES.items():
        body = ast.parse(inspect.getsource(inspect.getmodule(inspect.unwrap(entry.factory)))).body  # type: ignore
        defined = {node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        named = lambda node: {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        users = {k: {other for other, node in defined.items() if k in named(node) and other != k} for k in defined}
        own: set[str] = set()
        more = {name} & set(defined)
        while more:
            own |= more
            more = {k for k in defined if users[k] and users[k] <= own} - own - set(catalogue.ENTRIES)
        first = lambda node: min([node.lineno, *(part.lineno for part in node.decorator_list)])
        lengths[name] = sum(defined[k].end_lineno - first(defined[k]) + 1 for k in own)  # type: ignore[operator]
    return lengths


def tests() -> Iterator[Line]:
    """Lines whose measurement is a test, compiled as users compile."""
    from acceptance_tests import TESTS

    for line, arguments in TESTS.items():
        code, text, _ = shell(
            f"{sys.executable} -m pytest {arguments} -n 2 --dist worksteal", JAX_DISABLE_MOST_OPTIMIZATIONS="0"
        )
        last = text.strip().splitlines()[-1]
        yield Line(line, f"pytest {arguments}", "all pass", last, code == 0)


PARTS: dict[str, Callable[[], Iterator[Line]]] = {
    part.__name__: part
    for part in (
        speeds,
        engine,
        limits,
        rivals,
        solutions,
        optima,
        accuracy,
        landscape,
        gallery,
        scaling,
        deviations,
        parity,
        suite,
        steps,
        pages,
        tests,
        fresh_clones,
    )
}


def main(names: list[str]) -> int:
    """Measure every line of these parts, or of all; the number of those that do not hold."""
    from rich.console import Console

    from sandbox import report

    folder, failed = ROOT / "results" / "acceptance", 0
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or PARTS:
        rows = []
        for line in PARTS[name]():
            verdict = "holds" if line.holds else "FAILS"
            print(f"{verdict}  {line.line}: {line.measured}", flush=True)
            rows.append({**line._asdict(), "holds": verdict})
            failed += not line.holds
        (folder / f"{name}.md").write_text(report.markdown(rows))
        Console(width=200).print(report.table(rows, name))
    return failed


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
