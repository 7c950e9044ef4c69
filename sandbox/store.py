"""Results on disk: a Zarr group of lanes in execution order, written whole chunk by whole chunk.

Every variable has a leading dimension `lane`; the axes are coordinates along it. A chunk of lanes is finished when its
status has been written, last; only whole chunks are ever written, so a lane is whole or absent. The root's zarr.json is
replaced in one rename and holds the recipe and the shape of every array, so that growing a store is one step too.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

FORMAT = 1
SLASH = "∕"  # stands in names on disk for the slash of a path, which would make a group inside the group
ABSENT = -1  # status of a lane that is not computed
DAMAGE = (ValueError, RuntimeError, OSError)  # of a file that is cut short or does not agree with its checksum


class OtherProgram(ValueError):
    """The store holds the results of another program."""


class Variable(NamedTuple):
    """An array along lanes: the names and lengths of its further dimensions, and its dtype."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str


def create(
    path: str | os.PathLike,
    recipe: dict[str, Any],
    variables: dict[str, Variable],
    lanes: dict[str, np.ndarray],
    chunk: int,
) -> None:
    """A new store with every lane absent: made beside its place and renamed into it, so that it is there or is not.

    Where another process made one while this one waited for the folder, that one stays.
    """
    import zarr

    target = Path(path)
    making = target.with_name(f".{target.name}.partial")
    with _writable(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.parent, wait=True), _writable(target):
        if (target / "zarr.json").exists():
            return
        shutil.rmtree(making, ignore_errors=True)
        with _quiet():
            group: Any = zarr.open_group(making, mode="w-", zarr_format=3)
            for name, v in variables.items():
                _array(group, _flat(name), ("lane", *v.dims), (0, *v.shape), (chunk, *v.shape), np.dtype(v.dtype))
            for name, values in lanes.items():
                _array(group, name, ("lane",), (0,), (chunk,), values.dtype)
            _grow(group, lanes, 0)
        _commit(making, recipe, _metadata(making))
        os.replace(making, target)


def extend(path: str | os.PathLike, recipe: dict[str, Any], lanes: dict[str, np.ndarray]) -> None:
    """More lanes after those that are there, all absent. Until the recipe is renamed in, readers see the old store."""
    import zarr

    with _quiet(), _writable(Path(path)):
        # The committed length is the consolidated one; what a killed extension left behind it is written over.
        group: Any = zarr.open_group(path, mode="r")
        committed = group["status"].shape[0]
        _grow(zarr.open_group(path, mode="r+", use_consolidated=False), lanes, committed)
        _commit(Path(path), recipe, _metadata(Path(path)))


def write(path: str | os.PathLike, start: int, block: dict[str, np.ndarray]) -> None:
    """One whole chunk of lanes, its status last."""
    import zarr

    # A chunk that equals the fill value must be there too: a missing file would read just like it.
    with _quiet(), _writable(Path(path)), zarr.config.set({"array.write_empty_chunks": True}):
        group: Any = zarr.open_group(path, mode="r+")
        for name in sorted(block, key=lambda name: name == "status"):
            group[_flat(name)][start : start + len(block[name])] = block[name]


def annotate(path: str | os.PathLike, recipe: dict[str, Any]) -> None:
    """Replace the recipe."""
    with _writable(Path(path)):
        _commit(Path(path), recipe)


def recipe(path: str | os.PathLike) -> dict[str, Any] | None:
    """The recipe of a store; None where nothing is there; ValueError for a folder that is something else."""
    root = Path(path)
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    try:
        attributes = json.loads((root / "zarr.json").read_text())["attributes"]
        stated = attributes.pop("recipe_hash")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{root} is not a store of sandbox; choose another folder, or a new name in it") from error
    if stated != _hash(attributes):
        raise ValueError(f"{root}: its recipe does not match its own hash, the file zarr.json was damaged or edited")
    return attributes


def lanes(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The axis values of every lane on disk, in execution order; lanes that fill up a chunk repeat another's."""
    import zarr

    with _quiet():
        group: Any = zarr.open_group(path, mode="r")
        return {name: _axis(path, name, group[name]) for name in group.attrs["coordinates"]}


def _axis(path: str | os.PathLike, name: str, array: Any) -> np.ndarray:
    try:
        return _plain(np.asarray(array[:]))
    except DAMAGE as error:
        raise ValueError(
            f"{path}: its axis {name} is damaged, nobody knows which lane is which; take a new store"
        ) from error


def finished(path: str | os.PathLike) -> np.ndarray:
    """Whether each chunk is whole: its status says so, and every file is there (an absent one reads as fill)."""
    import zarr

    with _quiet():
        group: Any = zarr.open_group(path, mode="r")
        status = group["status"]
        chunk = status.chunks[0]
        done = np.asarray(status[:]).reshape(-1, chunk).min(axis=1) != ABSENT
        arrays = [(name, array.ndim) for name, array in group.arrays() if name not in group.attrs["coordinates"]]
    for i in np.flatnonzero(done):
        done[i] = all((Path(path) / name / "c" / "/".join([str(i), *"0" * (n - 1)])).exists() for name, n in arrays)
    return done


def mend(path: str | os.PathLike) -> int:
    """Forget every finished chunk that can no longer be read, for it to be computed anew; how many there were."""
    import zarr

    with _quiet():
        group: Any = zarr.open_group(path, mode="r")
        arrays = [array for name, array in group.arrays() if name not in group.attrs["coordinates"]]
        if all(_legible(array, slice(None)) for array in arrays):
            return 0
        size, chunk = group["status"].shape[0], group["status"].chunks[0]
        marks = [Path(path) / "status" / "c" / str(i) for i in range(size // chunk)]
        rows = [slice(i * chunk, (i + 1) * chunk) for i in range(len(marks))]
        lost = [m for m, r in zip(marks, rows, strict=True) if m.exists() and not all(_legible(a, r) for a in arrays)]
    with _writable(Path(path)):
        for mark in lost:
            mark.unlink()
    return len(lost)


def _legible(array: Any, rows: slice) -> bool:
    """Whether what is on disk agrees with its checksums."""
    try:
        array[rows]
    except DAMAGE:
        return False
    return True


def read(path: str | os.PathLike) -> Any:
    """The lanes as they lie on disk, an xarray.Dataset with the one dimension `lane` and each variable's own."""
    import xarray

    try:
        with _quiet():
            ds = xarray.open_zarr(path, chunks=None).load()
    except ValueError as error:
        raise ValueError(f"{path}: a chunk is damaged ({error}); the same sweep again computes it anew") from error
    ds = ds.assign_coords({name: ("lane", _plain(ds[name].values)) for name in ds.attrs["coordinates"]})
    return ds.rename({name: name.replace(SLASH, "/") for name in ds.data_vars})


def open(path: str | os.PathLike) -> Any:
    """The results as an xarray.Dataset with one dimension per axis; what was never computed is NaN, its status −1."""
    attributes = recipe(path)
    if attributes is None:
        raise ValueError(f"{path}: there is no store here; `sweep(..., store=path)` makes one")
    ds, dims = read(path), {name: tuple(labels) for name, labels in attributes["dims"].items()}
    disk = {name: ds[name].values for name in attributes["coordinates"]}
    rows = match(product(dims), {name: disk[name] for name in dims})
    scattered = {name: values[rows].reshape(_sizes(dims)) for name, values in disk.items() if name not in dims}
    # An axis of scattered points is the same along every dimension but the first, `point`.
    coords = {name: ("point", values.reshape(len(values), -1)[:, 0]) for name, values in scattered.items()}
    return lay({name: (v.dims[1:], v.values) for name, v in ds.data_vars.items()}, rows, dims, coords, ds.attrs)


def product(dims: dict[str, tuple]) -> dict[str, np.ndarray]:
    """The coordinates of every point of the product of some dimensions, the last one fastest."""
    index = np.indices(_sizes(dims)).reshape(len(dims), -1)
    return {name: np.asarray(labels)[i] for (name, labels), i in zip(dims.items(), index, strict=True)}


def match(lanes: dict[str, np.ndarray], among: dict[str, np.ndarray]) -> np.ndarray:
    """For each lane the number of the first equal one among others, −1 where there is none."""
    size = len(next(iter(among.values())))
    codes = [np.unique(np.concatenate([among[name], lanes[name]]), return_inverse=True)[1] for name in lanes]
    which = np.unique(np.stack(codes, axis=1), axis=0, return_inverse=True)[1].ravel()
    number = np.full(which.max() + 1, -1)
    number[which[:size][::-1]] = np.arange(size)[::-1]
    return number[which[size:]]


def lay(
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]],
    rows: np.ndarray,
    dims: dict[str, tuple],
    coords: dict[str, Any],
    attributes: dict[str, Any],
) -> Any:
    """Lanes laid over the product of their dimensions: point i has row rows[i], and none where that is −1."""
    import xarray

    as_they_are = np.array_equal(rows, np.arange(len(next(iter(variables.values()))[1])))

    def laid(further: tuple[str, ...], values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
        taken = values if as_they_are else values[rows]
        if (rows < 0).any():
            taken[rows < 0] = fill(values.dtype)
        return (*dims, *further), taken.reshape(_sizes(dims) + values.shape[1:])

    labels = {name: np.asarray(values) for name, values in dims.items()}
    return xarray.Dataset({name: laid(*v) for name, v in variables.items()}, labels | coords, attributes)


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """The right to write a store: one process at a time has it, and loses it when it ends, however it ends."""
    with _locked(Path(path), wait=False):
        yield


@contextlib.contextmanager
def _locked(folder: Path, wait: bool) -> Iterator[None]:
    """A lock on the folder itself, which the system lets go of with the process: there is no file to be left over."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    except BlockingIOError:
        raise ValueError(f"{folder}: another process is writing this store; wait for it, or choose another") from None
    finally:
        os.close(handle)


@contextlib.contextmanager
def _writable(path: Path) -> Iterator[None]:
    """An operating system's refusal as one line."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "make room, then the same call goes on from what was finished" if full else "choose another folder"
        raise ValueError(f"{path}: cannot be written ({error.strerror or error}); {advice}") from error


def _flat(name: str) -> str:
    """A name as one folder's."""
    return name.replace("/", SLASH)


def _array(group: Any, name: str, dims: tuple[str, ...], shape: tuple, chunks: tuple, dtype: np.dtype) -> None:
    """An array whose chunks carry a checksum."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    group.create_array(
        name,
        shape=shape,
        chunks=tuple(max(1, n) for n in chunks),
        dtype=str if dtype.kind == "U" else dtype,
        fill_value=fill(dtype),
        dimension_names=dims,
        compressors=[ZstdCodec(), Crc32cCodec()],
    )


def _grow(group: Any, lanes: dict[str, np.ndarray], old: int) -> None:
    """Room for more lanes after the first `old` in every array, and the coordinates of those lanes."""
    new = old + len(next(iter(lanes.values())))
    for name, array in group.arrays():
        array.resize((new, *array.shape[1:]))
        if name in lanes:
            array[old:] = lanes[name]


def _metadata(root: Path) -> dict[str, Any]:
    """What each array's own file says of it."""
    arrays = {file.parent.name: json.loads(file.read_text()) for file in sorted(root.glob("*/zarr.json"))}
    return {"kind": "inline", "must_understand": False, "metadata": arrays}


def _commit(root: Path, recipe: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
    """Replace zarr.json, in one rename, by one with this recipe and, where given, with new metadata of the arrays."""
    document = json.loads((root / "zarr.json").read_text())
    kept = {name: value for name, value in recipe.items() if name != "recipe_hash"}
    document["attributes"] = kept | {"recipe_hash": _hash(kept)}
    document["consolidated_metadata"] = metadata or document["consolidated_metadata"]
    new = root / ".zarr.json.new"
    new.write_text(json.dumps(document))
    os.replace(new, root / "zarr.json")


def _plain(values: np.ndarray) -> np.ndarray:
    """Text as NumPy's fixed-width kind, which can be compared, sorted and made unique; numbers as they are."""
    return np.array(values.tolist()) if values.dtype.kind in "OT" else values


def fill(dtype: Any) -> Any:
    """What an absent value reads as: NaN, −1, False or empty text."""
    by_kind = {"f": np.nan, "c": complex(np.nan, np.nan), "i": ABSENT, "b": False, "U": ""}
    return by_kind.get(np.dtype(dtype).kind, 0)


def _hash(attributes: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(attributes, sort_keys=True).encode()).hexdigest()


def _sizes(dims: dict[str, tuple]) -> tuple[int, ...]:
    return tuple(len(labels) for labels in dims.values())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Zarr warns that consolidated metadata and text arrays are not in the Zarr 3 core; both are read by xarray."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(onsolidated metadata|Zarr format 3|Zarr V3|data type).*")
        yield
