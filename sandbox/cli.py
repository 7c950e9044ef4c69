"""The command line: thin arguments over the functions of the library."""

import functools
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from sandbox import __version__
from sandbox.binding import bind, in_pieces, pick, problem_alone, trainer
from sandbox.drawing import caption, draw_run, draw_sweep, draw_tuned, print_, show, show_sweep, show_tuned


class Commands(typer.core.TyperGroup):
    """The commands; on Ctrl-C, of which Typer says nothing, they tell what became of the work."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            place = "results" if ctx.invoked_subcommand == "reproduce" else ctx.meta.get("store")
            kept = bool(place) and Path(place).exists()
            after = f"; what was finished is in {place}, the same command goes on from there" if kept else ""
            typer.echo(f"interrupted{after}", err=True)
            raise typer.Exit(130) from None


def noted(ctx: typer.Context, store: Path | None) -> Path | None:
    """The store that a command was given, kept in mind for an interruption."""
    ctx.meta["store"] = store
    return store


app = typer.Typer(
    cls=Commands,
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
Store = Annotated[
    Path | None, typer.Option(callback=noted, help="keep the results here; the same call resumes or extends it")
]
X64 = Annotated[bool, typer.Option("--x64", help="in double precision")]


def main() -> None:
    """Run the command line; every error of the user's is one line and exit code 2."""
    try:
        app()
    except Exception as error:
        from sandbox import lookup

        line = lookup.told(error)
        if line is None:
            raise
        typer.echo(f"error: {line}", err=True)
        sys.exit(2)


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
    from sandbox.reproduction import docstring, files, folder_of_experiments

    for title, module, names in (
        ("problems", problems, problems.names()),
        ("optimizers", optimizers, optimizers.names()),
    ):
        rows = [(name, caption(getattr(module, name))) for name in names]
        show(title, ("name", "what it is"), rows)
    folder = folder_of_experiments(missing_ok=True)
    if folder:
        texts = {path.stem: docstring(path) for path in files(folder)}
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
    checkpoint: Annotated[
        Path | None,
        typer.Option(callback=noted, help="keep the run here now and then; the same call goes on from there"),
    ] = None,
    save_every: Annotated[int, typer.Option(help="steps between two checkpoints")] = 1000,
    figure: Figure = None,
    x64: X64 = False,
) -> None:
    """One run: the objective along it, and how far from the optimum it ends.

    Example: sandbox run rosenbrock adam --set learning_rate=0.01 --steps 5000
    """
    import jax

    from sandbox import engine, lookup

    whole(steps=steps, batch_size=batch_size, save_every=save_every)
    lookup.drawable(figure)
    bound = bind(problem, optimizer, set_, {})
    with start(x64):
        whole_run = lambda: jax.jit(trainer(bound, steps, batch_size))(seed=seed)
        result = in_pieces(bound, steps, batch_size, seed, checkpoint, save_every) if checkpoint else whole_run()
        chosen = bound.problem()
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
    store: Store = None,
    keep: Annotated[str | None, typer.Option(help="params: store the final parameters too")] = None,
    memory: Annotated[str | None, typer.Option(help="what this process may hold, results included, like 2GB")] = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="one of many processes, started by Slurm or so, that fill one --store")
    ] = False,
    figure: Figure = None,
    x64: X64 = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="say how the lanes were placed, and why")] = False,
) -> None:
    """Thousands of runs as one program: every combination of the axes, with the best and the diverged.

    Example: sandbox sweep digits_mlp adam --axis learning_rate=log:1e-4:1:64 --seeds 8 --steps 500 --batch-size 128
    """
    from sandbox import lookup, sweeps
    from sandbox.sweeps import team

    whole(seeds=seeds, steps=steps, batch_size=batch_size)
    lookup.drawable(figure)
    if distributed:
        team.join(store)
    found = lookup.axes(axis or [])
    if figure and not found:
        raise ValueError("--figure draws the objective along an axis: give --axis learning_rate=log:1e-4:1:64, or so")
    bound = bind(problem, optimizer, set_, found)
    with start(x64):
        ds = sweeps.sweep(
            trainer(bound, steps, batch_size), **bound.axes, seed=range(seeds), store=store, keep=keep, memory=memory
        )
    if not team.leads():
        return
    if verbose:
        typer.echo(f"plan: {ds.attrs['plan']}")
    names = list(bound.axes)
    show_sweep(ds, names, f"{problem} under {optimizer}: the best points")
    diverged, total = int((ds.status == 1).sum()), ds.status.size
    reused = "" if store is None else f", {total - ds.attrs['lanes_computed']} of them were in {store} already"
    typer.echo(f"{total} runs{reused}; {diverged} diverged")
    if figure:
        draw_sweep(figure, ds, names, f"{problem} under {optimizer}, {steps} steps")


@app.command()
def tune(
    problem: ProblemName,
    optimizer: OptimizerName,
    rates: Annotated[str, typer.Option(help="log:LOW:HIGH:COUNT, linear:… or a,b,c")] = "log:1e-4:10:41",
    set_: Set = None,
    axis: Annotated[
        list[str] | None,
        typer.Option("--axis", help="another one to search, by Hyperband: name=linear:LOW:HIGH or log:…; repeatable"),
    ] = None,
    budget: Annotated[str | None, typer.Option(help="of the search: 60s, 2e6steps or 1e6gradients")] = None,
    seeds: Annotated[int, typer.Option(help="runs at every rate, from seed 0 up")] = 4,
    steps: Steps = 1000,
    batch_size: BatchSize = None,
    store: Store = None,
    figure: Figure = None,
    x64: X64 = False,
) -> None:
    """Which learning rate is best, and how far it is from the cliff; with other hyper-parameters, which point.

    Example: sandbox tune digits_mlp adam --rates log:1e-4:1:33 --steps 300 --batch-size 128 --figure u.png

    Example: sandbox tune digits_mlp adam --axis b1=linear:0:0.99 --budget 30s --steps 300 --batch-size 128
    """
    from sandbox import lookup, sweeps

    whole(seeds=seeds, steps=steps, batch_size=batch_size)
    lookup.drawable(figure)
    further, limit = lookup.axes(axis or [], counted=False), lookup.budget(budget) if budget else None
    bound = bind(problem, optimizer, set_, lookup.axes([f"learning_rate={rates}"]) | further)
    chosen = bound.problem()
    method = lambda rate, **rest: bound.method(learning_rate=rate, **rest)
    with start(x64):
        grid, space = bound.axes["learning_rate"], pick(bound.axes, set(further))
        tuned = sweeps.tune(
            chosen,
            method,
            space,
            limit,
            learning_rate=grid,
            seeds=range(seeds),
            steps=steps,
            batch_size=batch_size,
            store=store,
        )
    show_tuned(tuned, f"{problem} under {optimizer}, {steps} steps, {seeds} seeds")
    if figure:
        draw_tuned(figure, tuned, chosen, f"{problem} under {optimizer}, {steps} steps")


@app.command()
def landscape(
    problem: ProblemName,
    optimizer: Annotated[str | None, typer.Option(help="draw its path too, over the plane around its end")] = None,
    set_: Set = None,
    steps: Steps = 1000,
    batch_size: BatchSize = None,
    store: Annotated[Path | None, typer.Option(help="look around a run that a sweep with --keep params left")] = None,
    at: Annotated[list[str] | None, typer.Option("--at", help="name=value, which run of the store; repeatable")] = None,
    span: Annotated[
        float | None, typer.Option(help="how far the plane reaches to each side; chosen when left out")
    ] = None,
    points: Annotated[
        int | None, typer.Option(help="to each side of the grid; 201 of two variables, else 51, when left out")
    ] = None,
    normalization: Annotated[str | None, typer.Option(help="of the directions: filter, none, …")] = None,
    seed: Annotated[int, typer.Option(help="of the start, the run and the directions")] = 0,
    figure: Annotated[
        list[Path] | None,
        typer.Option(help="draw this PNG, SVG, PDF, GIF (the path), HTML (a surface) or VTS (ParaView); repeatable"),
    ] = None,
    x64: X64 = False,
) -> None:
    """The ground around a minimum, or around the end of a run: contours of the objective on a plane.

    Example: sandbox landscape rosenbrock --optimizer adam --set learning_rate=0.05 --steps 500 --figure valley.png
    """
    import jax

    from sandbox import terrain
    from sandbox.landscape import survey

    whole(steps=steps, batch_size=batch_size)
    files = figure or []
    terrain.drawable(files, moves=bool(optimizer or store))
    if (store and optimizer) or (at and not store):
        raise ValueError("--store takes a run of a store, chosen by --at, and --optimizer makes a new one; give either")
    bound = bind(problem, optimizer, set_, {}) if optimizer else None
    chosen = bound.problem() if bound else problem_alone(problem, set_)
    method = bound.method() if bound else None
    with start(x64):
        params, path, run = terrain.stored(store, at or [], chosen) if store else (None, None, "")
        terrain.drawable(files, moves=bool(optimizer) or path is not None)
        ground = survey(
            chosen, key=jax.random.key(seed), optimizer=method, steps=steps, batch_size=batch_size, span=span,
            points=points, normalization=normalization, params=params, path=path,
        )  # fmt: skip
    run = ", ".join([optimizer, *(set_ or []), f"{steps} steps"]) if optimizer else run
    text = terrain.told(ground, chosen, seed, run)
    terrain.table(ground, f"{problem}, {len(ground.a)} × {len(ground.b)} points")
    typer.echo(text)
    title = f"{problem} under {optimizer}" if optimizer else problem
    terrain.write(terrain.View(ground, chosen, title, optimizer or "path", text), files)


@app.command()
def reproduce(
    experiments: Annotated[
        list[str] | None, typer.Argument(metavar="[EXPERIMENT]…", help="names; all that are quick when left out")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="a coarser grid, to see that everything works")] = False,
    data: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="your files, for an experiment that needs some, like mnist")
    ] = None,
) -> None:
    """Run the experiments, print their claims, write results/index.html. Exit code 1 if a claim fails."""
    from sandbox import reproduction

    with start(False):
        processes = min(2, len(os.sched_getaffinity(0)))
        folder, prepare = reproduction.folder_of_experiments(), functools.partial(start, False, not experiments)
        failed = reproduction.reproduce(folder, experiments or [], fast, print_, processes, prepare, data)
    if failed:
        raise typer.Exit(1)


@app.command()
def validate(
    optimizers: Annotated[
        list[str] | None, typer.Argument(metavar="[OPTIMIZER]…", help="names; all when left out")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="put the table into this folder of results and on its page, too")
    ] = None,
) -> None:
    """Each optimizer beside its Optax twin, step by step in double precision. Exit code 1 if one differs.

    Example: sandbox validate adam lion
    """
    from rich.progress import track

    from sandbox import lookup, parity, reproduction
    from sandbox import optimizers as catalogue

    for name in optimizers or []:
        lookup.named("optimizer", name, catalogue, catalogue.names())
    chosen = optimizers or catalogue.names()
    cores = len(os.sched_getaffinity(0))
    with start(False):
        rows = list(track(parity.rows(chosen, cores), "optimizers", total=len(chosen), transient=True))
    columns = ("optimizer", "paper", "Optax twin", "cases", "worst deviation", "dtypes", "traced", "deviations")
    word = {True: "ok", False: "FAILS"}
    lines = [
        (r.name, r.paper, r.twin, r.cases, f"{r.worst:.1e}", word[r.dtypes], word[r.traced], r.deviations) for r in rows
    ]
    show("each optimizer beside its Optax twin, float64", columns, lines)
    if results:
        typer.echo(f"{reproduction.keep_validation(rows, results)} shows it")
    if not all(row.passed for row in rows):
        raise typer.Exit(1)


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="the folder that reproduce wrote")] = Path("results"),
) -> None:
    """Gather the figures and claims of a results folder into one page, results/index.html."""
    from sandbox.report import page

    typer.echo(page(results))


def start(x64: bool, short: bool = False) -> Any:
    """Every core a device, compiled programs kept, the precision that was asked for; `short`: loops of few seconds."""
    import jax

    import sandbox

    if short:
        sandbox.compile_fast()
    sandbox.use_all_cores()
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sandbox" / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return jax.enable_x64(x64)


def whole(**numbers: int | None) -> None:
    """ValueError for an option that is no count."""
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ValueError(f"--{name.replace('_', '-')} {number}: expected a whole number from 1 up")
