"""The command line: thin arguments over the functions of the library."""

import ast
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from sandbox import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Optimization, measured: problems, optimizers, sweeps of thousands of runs, and claims with known answers.",
    epilog="A first look: **sandbox list**, then **sandbox run rosenbrock adam --set learning_rate=0.01**",
)

ProblemName = Annotated[str, typer.Argument(metavar="PROBLEM", help="a catalogue name, or file.py:name")]
OptimizerName = Annotated[str, typer.Argument(metavar="OPTIMIZER", help="a catalogue name, or file.py:name")]
Set = Annotated[list[str] | None, typer.Option("--set", help="name=value for the optimizer or problem; repeatable")]
Axes = Annotated[
    list[str] | None,
    typer.Option("--axis", help="name=log:LOW:HIGH:COUNT, name=linear:… or name=a,b,c; repeatable"),
]
Steps = Annotated[int, typer.Option(help="updates in each run")]
BatchSize = Annotated[int | None, typer.Option(help="examples a step, reshuffled in every epoch; all when left out")]
Figure = Annotated[Path | None, typer.Option(help="also draw this PNG or SVG")]
X64 = Annotated[bool, typer.Option("--x64", help="in double precision")]


def main() -> None:
    """Run the command line; every error of the user's is one line and exit code 2."""
    try:
        app()
    except (ValueError, RuntimeError, OverflowError) as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("interrupted; what was finished is in the store, the same command goes on from there", err=True)
        sys.exit(130)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="show the version and stop", is_eager=True)] = False,
) -> None:
    if show:
        typer.echo(f"sandbox {__version__}")
        raise typer.Exit


@app.command("list")
def list_() -> None:
    """Problems, optimizers and experiments, one line each."""
    from sandbox import optimizers, problems
    from sandbox.reproduction import files

    for title, module, names in (
        ("problems", problems, problems.names()),
        ("optimizers", optimizers, optimizers.names()),
    ):
        rows = [(name, caption(getattr(module, name))) for name in names]
        show(title, ("name", "what it is"), rows)
    folder = experiments_folder(missing_ok=True)
    if folder:
        texts = {path.stem: ast.get_docstring(ast.parse(path.read_text())) or "" for path in files(folder)}
        show(
            "experiments", ("name", "what it shows"), [(name, text.partition("\n")[0]) for name, text in texts.items()]
        )


@app.command()
def run(
    problem: ProblemName,
    optimizer: OptimizerName,
    set_: Set = None,
    steps: Steps = 1000,
    seed: Annotated[int, typer.Option(help="of the start, the batches and the noise")] = 0,
    batch_size: BatchSize = None,
    figure: Figure = None,
    x64: X64 = False,
) -> None:
    """One run: the objective along it, and how far from the optimum it ends.

    Example: sandbox run rosenbrock adam --set learning_rate=0.01 --steps 5000
    """
    import jax

    from sandbox import engine, lookup

    lookup.drawable(figure)
    train, _, _ = bind(problem, optimizer, set_, {}, steps, batch_size)
    with start(x64):
        result = jax.jit(train)(seed=seed)
        chosen = problem_of(problem, set_)
        assert isinstance(result, engine.Run)
        at = range(steps) if steps <= 10 else sorted({0, *(int(steps * f) for f in (0.01, 0.03, 0.1, 0.3)), steps - 1})
        rows = [(k, *(f"{result.trace[name][k]:.6g}" for name in ("loss", "grad_norm"))) for k in at]
        show(f"{problem} under {optimizer}, {steps} steps", ("step", "loss", "gradient norm"), rows)
        if int(result.status):
            typer.echo(f"diverged at step {int(result.diverged_at)}: its parameters are the last finite ones")
        else:
            best = chosen.facts.minimum
            gap = "" if best is None else f", {float(result.value) - float(best):.3g} above the known minimum"
            typer.echo(f"final objective {float(result.value):.8g}{gap}")
        for name, value in chosen.evaluate(result.params).items():
            typer.echo(f"{name} {float(value):.6g}")
        if figure:
            draw_run(figure, result, chosen, f"{problem} under {optimizer}, seed {seed}")


@app.command()
def sweep(
    problem: ProblemName,
    optimizer: OptimizerName,
    axis: Axes = None,
    set_: Set = None,
    seeds: Annotated[int, typer.Option(help="runs at every point, from seed 0 up")] = 1,
    steps: Steps = 1000,
    batch_size: BatchSize = None,
    store: Annotated[
        Path | None, typer.Option(help="keep the results here; the same call resumes or extends it")
    ] = None,
    memory: Annotated[str | None, typer.Option(help="what one chunk of lanes may take, like 2GB")] = None,
    figure: Figure = None,
    x64: X64 = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="say how the lanes were placed, and why")] = False,
) -> None:
    """Thousands of runs as one program: every combination of the axes, with the best and the diverged.

    Example: sandbox sweep digits_mlp adam --axis learning_rate=log:1e-4:1:64 --seeds 8 --steps 500 --batch-size 128
    """
    from sandbox import lookup, sweeps

    whole("seeds", seeds)
    lookup.drawable(figure)
    found = lookup.axes(axis or [])
    if figure and not found:
        raise ValueError("--figure draws the objective along an axis: give --axis learning_rate=log:1e-4:1:64, or so")
    train, axes, _ = bind(problem, optimizer, set_, found, steps, batch_size)
    with start(x64):
        ds = sweeps.sweep(train, **axes, seed=range(seeds), store=store, memory=memory)
    if verbose:
        typer.echo(f"plan: {ds.attrs['plan']}")
    names = list(axes)
    stacked = ds[["value", "status"]].stack(at=names) if names else ds[["value", "status"]].expand_dims(at=1)
    table = stacked.transpose("at", "seed")
    median = table.value.median("seed", skipna=False).values
    order = [i for i in median.argsort() if median[i] == median[i]][:8]
    rows = []
    for i in order:
        point, values = table.isel(at=i), table.value.values[i]
        labels = [
            f"{point[name].item():.4g}" if point[name].dtype.kind == "f" else str(point[name].item()) for name in names
        ]
        rows.append((*labels, f"{median[i]:.6g}", f"{values.min():.6g} … {values.max():.6g}"))
    show(
        f"{problem} under {optimizer}: the best points",
        (*names, "median objective", "range over seeds"),
        rows,
    )
    diverged, total = int((ds.status == 1).sum()), ds.status.size
    reused = "" if store is None else f", {total - ds.attrs['lanes_computed']} of them were in {store} already"
    typer.echo(f"{total} runs{reused}; {diverged} diverged")
    if figure:
        draw_sweep(figure, ds, names, f"{problem} under {optimizer}, {steps} steps")


@app.command()
def reproduce(
    experiments: Annotated[
        list[str] | None, typer.Argument(metavar="[EXPERIMENT]…", help="names; all when left out")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="a coarser grid, to see that everything works")] = False,
) -> None:
    """Run the experiments, print their claims, write results/index.html. Exit code 1 if a claim fails."""
    from sandbox import reproduction

    with start(False):
        failed = reproduction.reproduce(experiments_folder(), experiments or [], fast, print_)
    if failed:
        raise typer.Exit(1)


@app.command()
def validate(
    optimizers: Annotated[
        list[str] | None, typer.Argument(metavar="[OPTIMIZER]…", help="names; all when left out")
    ] = None,
) -> None:
    """Each optimizer beside its Optax twin, step by step in double precision. Exit code 1 if one differs."""
    from sandbox import lookup, parity
    from sandbox import optimizers as catalogue

    for name in optimizers or []:
        lookup.named("optimizer", name, catalogue, catalogue.names())
    with start(False):
        rows = parity.validate(optimizers or None)
    columns = ("optimizer", "paper", "Optax twin", "cases", "worst deviation", "dtypes", "traced", "deviations")
    word = {True: "ok", False: "FAILS"}
    lines = [
        (r.name, r.paper, r.twin, r.cases, f"{r.worst:.1e}", word[r.dtypes], word[r.traced], r.deviations) for r in rows
    ]
    show("each optimizer beside its Optax twin, float64", columns, lines)
    if not all(row.passed for row in rows):
        raise typer.Exit(1)


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="the folder that reproduce wrote")] = Path("results"),
) -> None:
    """Gather the figures and claims of a results folder into one page, results/index.html."""
    from sandbox.report import page

    typer.echo(page(results))


def bind(
    problem: str,
    optimizer: str,
    set_: list[str] | None,
    axes: dict[str, Any],
    steps: int,
    batch_size: int | None,
) -> tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]:
    """train(seed, **axes) for names on the command line, the axes, and the settings; everything is checked first."""
    from sandbox import engine, lookup, problems
    from sandbox import optimizers as catalogue

    make_problem = lookup.named("problem", problem, problems, problems.names())
    make_optimizer = lookup.named("optimizer", optimizer, catalogue, catalogue.names())
    whole("steps", steps)
    if batch_size is not None:
        whole("batch-size", batch_size)
    fixed = lookup.settings(set_ or [])
    own = inspect.signature(make_problem).parameters
    for name in axes:
        if name in fixed or name == "seed":
            other = "seeds are given by --seeds" if name == "seed" else f"it is also given by --set {name}=…"
            raise ValueError(f"--axis {name}=…: {other}; give it once")
    given = {**{name: [value] for name, value in fixed.items()}, **axes}
    mine = {name for name in given if name in own}
    lookup.accepts("optimizer", optimizer, make_optimizer, [name for name in given if name not in mine])
    axes = {**lookup.traceable(make_optimizer, axes), **lookup.traceable(make_problem, pick(axes, mine))}
    lookup.numeric("problem", problem, make_problem, pick(given, mine))
    lookup.numeric("optimizer", optimizer, make_optimizer, given)
    if "learning_rate" in inspect.signature(make_optimizer).parameters and "learning_rate" not in given:
        needed = inspect.signature(make_optimizer).parameters["learning_rate"].default is inspect.Parameter.empty
        if needed:
            raise ValueError(f"{optimizer} needs a learning rate: --set learning_rate=0.1, or --axis in a sweep")

    built = None if mine & axes.keys() else make_problem(**pick(fixed, mine))

    def train(seed: Any, **point: Any) -> Any:
        import jax

        values = {**fixed, **point}
        chosen = built or make_problem(**pick(values, mine))
        method = make_optimizer(**{name: value for name, value in values.items() if name not in mine})
        return engine.run(chosen, method, steps=steps, batch_size=batch_size, key=jax.random.key(seed))

    return train, axes, fixed


def pick(values: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}


def problem_of(problem: str, set_: list[str] | None) -> Any:
    """The problem that a name and its settings mean."""
    from sandbox import lookup, problems

    make = lookup.named("problem", problem, problems, problems.names())
    return make(**pick(lookup.settings(set_ or []), set(inspect.signature(make).parameters)))


def start(x64: bool) -> Any:
    """Every core a device, compiled programs kept between calls, and the precision that was asked for."""
    import os

    import jax

    import sandbox

    sandbox.use_all_cores()
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sandbox" / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return jax.enable_x64(x64)


def whole(name: str, number: int) -> None:
    if number < 1:
        raise ValueError(f"--{name} {number}: expected a whole number from 1 up")


def experiments_folder(missing_ok: bool = False) -> Path:
    """experiments/ here or in a parent."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "experiments" / "__init__.py").is_file():
            return folder / "experiments"
    if missing_ok:
        return Path()
    raise ValueError(f"no experiments/ in {Path.cwd().name} or a parent; run this in a checkout of the project")


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


def save(figure: Any, path: Path) -> None:
    """Write a figure where it was asked for."""
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: the figure cannot be written ({error}); give a .png or .svg in a folder") from error
    typer.echo(f"{path} written")
