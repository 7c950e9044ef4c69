"""What the landscape command shows: a surveyed plane, around a fresh or a stored run, in every kind of file."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import typer

from sandbox import lookup
from sandbox.drawing import save, show

FRAMES = 60  # of a film, at most


class View(NamedTuple):
    """A plane and what must be said of it."""

    ground: Any  # a landscape.Survey
    problem: Any
    title: str
    label: str  # of the path
    caption: str


def write(view: View, files: Iterable[Path]) -> None:
    """Draw it into each file, as its suffix says."""
    for file in files:
        KINDS[file.suffix.lower()](file, view)


def drawable(files: Iterable[Path], moves: bool) -> None:
    """ValueError for a file that cannot be drawn or written, before anything is computed; `moves`: there is a path."""
    for file in files:
        lookup.drawable(file, KINDS)
        if file.suffix.lower() == ".gif" and not moves:
            raise ValueError(
                f"{file}: a film shows a path: name the run's --optimizer, or a --store whose sweep recorded 'path'"
            )


def stored(place: Path, at: Iterable[str], problem: Any) -> tuple[Any, Any, str]:
    """Final parameters of one run of a store, its path where `path` was recorded, and which run it is."""
    import numpy as np

    from sandbox import store

    ds = store.open(place)
    if not _names(ds, "params"):
        raise ValueError(f"{place} holds no parameters: sweep with --keep params, or keep='params', into a new store")
    point = _point(place, ds, lookup.settings(at, "--at"))
    run = ds.sel(point)
    said = ", ".join(f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}"
                     for name, value in point.items())  # fmt: skip
    if int(run.status) == store.ABSENT:
        raise ValueError(f"{place}: the run at {said} was never computed; the same sweep again does it")
    params, path = _tree(run, "params", problem, place), None
    if _names(ds, "path"):
        path = _tree(run, "path", problem, place, steps=run.sizes["step"])
        lasted = int(run.diverged_at) if int(run.status) else np.inf
        kept = int((run.step.values < lasted).sum())
        path = _leaves(lambda x: np.asarray(x)[:kept], path)
    return params, path, f"the run at {said} of {place}" + (", which diverged" if int(run.status) else "")


def _point(place: Path, ds: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    """The label of one run along each dimension: as was said, or the only one that there is."""
    import numpy as np

    dims, point = [str(dim) for dim in ds.status.dims], {}
    for name in wanted:
        if name not in dims:
            raise ValueError(f"--at {name}=…: {place} has no such axis{lookup.nearest(name, dims)}; it has {dims}")
    for dim in dims:
        labels = ds[dim].values
        shown = ", ".join(f"{x:.4g}" if labels.dtype.kind == "f" else str(x) for x in labels[:8])
        if dim not in wanted and len(labels) > 1:
            raise ValueError(f"{place} has {len(labels)} values of {dim}: {shown}, …; choose one by --at {dim}=…")
        value, numbers = wanted.get(dim, labels[0]), labels.dtype.kind in "fi"
        if numbers and not isinstance(value, int | float | np.number):
            raise ValueError(f"--at {dim}={value}: expected a number, one of {shown}, …")
        named = labels.astype(str) == str(value)
        match = np.isclose(labels.astype(float), float(value), rtol=1e-3, atol=0) if numbers else named
        if not match.any():
            raise ValueError(f"--at {dim}={value}: {place} has none such; it has {shown}, …")
        near = np.argmin(np.abs(labels - value)) if numbers else np.argmax(match)
        point[dim] = labels[near].item()
    return point


def _names(ds: Any, what: str) -> list[str]:
    return [str(name) for name in ds.data_vars if name == what or str(name).startswith(f"{what}/")]


def _tree(run: Any, what: str, problem: Any, place: Path, steps: int | None = None) -> Any:
    """What a store keeps of parameters, shaped as the problem's are; each leaf with a leading axis of steps, if any."""
    import jax
    import numpy as np

    like = jax.eval_shape(problem.init, jax.random.key(0))
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    names = ["/".join(filter(None, (what, jax.tree_util.keystr(p, simple=True, separator="/")))) for p, _ in paths]
    lead = () if steps is None else (steps,)
    wanted = {name: (*lead, *leaf.shape) for name, (_, leaf) in zip(names, paths, strict=True)}
    found = {name: run[name].shape for name in _names(run, what)}
    if found != wanted:
        raise ValueError(f"{place} holds {found} and {problem.name} has {wanted}; name the problem that was swept")
    return jax.tree.unflatten(structure, [np.asarray(run[name].values) for name in names])


def _leaves(f: Callable[[Any], Any], tree: Any) -> Any:
    import jax

    return jax.tree.map(f, tree)


def heights(view: View) -> Any:
    """The objective at each step of the path, where it is laid in the plane: on the surface."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from sandbox import tree

    ground, problem = view.ground, view.problem
    u, v = ground.directions

    def value(data: Any, c: Any) -> Any:
        place = tree.add(tree.add(ground.centre, tree.scale(c[0], u)), tree.scale(c[1], v))
        return problem.objective(place, data, jax.random.key(0))

    with jax.enable_x64(ground.values.dtype == np.float64):
        data = jax.tree.map(jnp.asarray, problem.data)
        places = jnp.asarray(np.stack([ground.path.a, ground.path.b], axis=1), float)
        return np.asarray(jax.jit(lambda data, places: jax.lax.map(lambda c: value(data, c), places))(data, places))


def _axes(ground: Any, x: str = "${}$") -> tuple[str, str]:
    """What the axes of the plane are called; `x` is how a page or a figure sets a formula."""
    return (x.format("x_1"), x.format("x_2")) if ground.normalization == "axes" else ("along u", "along v")


def table(ground: Any, title: str) -> None:
    """The lowest and the highest point of a surveyed plane, and where they are."""
    import numpy as np

    names = ("x1", "x2") if ground.normalization == "axes" else ("along u", "along v")
    finite = np.isfinite(ground.values)
    if not finite.any():
        raise ValueError("no point of the plane has a finite value; take another --span, or another start by --seed")
    rows = []
    for name, pick, worst in (("lowest", np.argmin, np.inf), ("highest", np.argmax, -np.inf)):
        i, j = np.unravel_index(pick(np.where(finite, ground.values, worst)), finite.shape)
        rows.append((name, f"{ground.values[i, j]:.6g}", f"{ground.a[i]:.4g}", f"{ground.b[j]:.4g}"))
    show(title, ("point", "objective", *names), rows)


def _picture(file: Path, view: View) -> None:
    """Contours with the path over them, and below what was drawn."""
    figure, ax = _contours(view)
    from sandbox.report.maps import track

    path = view.ground.path
    x, y = ((), ()) if path is None else (path.a, path.b)
    track(ax, x, y, view.label, minimizers=view.ground.minimizers)
    save(figure, file)


def _film(file: Path, view: View) -> None:
    """The path drawn step by step over the contours."""
    import numpy as np

    from sandbox.report.animation import gif
    from sandbox.report.maps import track
    from sandbox.report.plots import COLOURS

    path = view.ground.path
    figure, ax = _contours(view)
    track(ax, (), (), "", minimizers=view.ground.minimizers)
    (tail,) = ax.plot([], [], color=COLOURS[1], lw=1.6)
    (head,) = ax.plot([], [], "o", ms=8, mfc=COLOURS[1], mec="white", mew=1.4)
    text = ax.text(0.02, 0.97, "", transform=ax.transAxes, va="top", color="white", weight="bold")
    last = len(path.a) - 1

    def show_until(row: int) -> None:
        tail.set_data(path.a[: row + 1], path.b[: row + 1])
        head.set_data(path.a[row : row + 1], path.b[row : row + 1])
        text.set_text(f"{row} of {last}")

    rows = np.unique(np.linspace(0, last, min(FRAMES, last + 1)).round().astype(int))
    _put(file, gif(figure, [tail, head, text], show_until, rows.tolist()))


def _contours(view: View) -> tuple[Any, Any]:
    import textwrap

    import matplotlib.pyplot as plt

    from sandbox.report.maps import contours
    from sandbox.report.plots import GREY, style

    with style():
        figure, ax = plt.subplots(figsize=(6.4, 5.8))
        contours(ax, view.ground.a, view.ground.b, view.ground.values)
        names = _axes(view.ground)
        ax.set(title=view.title, xlabel=names[0], ylabel=names[1])
        figure.supxlabel(textwrap.fill(view.caption, 108), fontsize=8, color=GREY, x=0.02, ha="left")
    return figure, ax


def _page(file: Path, view: View) -> None:
    """A surface to turn, the path on it."""
    from sandbox.report.surfaces import surface

    ground = view.ground
    path = None if ground.path is None else (ground.path.a, ground.path.b, heights(view))
    names, minimum = _axes(ground, "{}"), view.problem.facts.minimum
    base = None if minimum is None else float(minimum)
    page = surface(ground.a, ground.b, ground.values, view.title, view.caption, path=path, names=names, minimum=base)
    _put(file, page.encode())


def _grid(file: Path, view: View) -> None:
    """The values for ParaView."""
    from sandbox.report.vtk import structured_grid

    _put(file, structured_grid(view.ground.a, view.ground.b, view.ground.values).encode())


def _put(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise ValueError(f"{file}: cannot be written ({error.strerror}); give a name in another folder") from error
    typer.echo(f"{file} written")


KINDS: dict[str, Callable[[Path, View], None]] = {
    ".png": _picture, ".svg": _picture, ".pdf": _picture, ".gif": _film, ".html": _page, ".vts": _grid,
}  # fmt: skip


def told(ground: Any, problem: Any, seed: int, run: str) -> str:
    """What a figure of a surveyed plane must say of itself: data, precision, seed, normalisation, path, gaps."""
    import jax
    import numpy as np

    counts = {len(leaf) for leaf in jax.tree.leaves(problem.data) if np.ndim(leaf)}
    data = (
        f"objective on the full training set ({counts.pop():,} examples)"
        if counts
        else "objective of the problem itself, there is no data"
    )
    plane = {
        "axes": "the plane of its two variables",
        "none": "random Gaussian directions u, v, not normalised",
    }.get(ground.normalization, f"random Gaussian directions u, v, {ground.normalization}-normalised")
    parts = [data, plane, f"seed {seed}", str(ground.values.dtype), *([run] if run else [])]
    if ground.path is not None:
        outside = 0 if ground.normalization == "axes" else ground.path.fraction
        exact = "path exact" if outside == 0 else f"path projected by least squares, {outside:.3g} of it out of plane"
        parts += [exact]
    if lost := int((~np.isfinite(ground.values)).sum()):
        parts.append(f"{lost:,} of {ground.values.size:,} points not finite, left blank")
    return "; ".join(parts) + "."
