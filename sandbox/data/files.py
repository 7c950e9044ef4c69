"""Files come in strictly: CSV, LIBSVM, IDX and NPZ, plain or gzipped. What is not exactly right is not read.

A reader gives the numbers that the file holds or raises a DataError that names the file and the line or byte; it never
guesses, repairs, leaves out or runs what a file contains. No more than `limit` bytes are unpacked.
"""

import array
import csv
import gzip
import io
import math
import os
import re
import stat
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np

LIMIT = 1 << 30  # bytes of a file, unpacked
GZIP, PIECE = b"\x1f\x8b", 1 << 20
NUMBER = rb"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"  # one way to match each text, so that none takes long
INDEX = rb"[1-9]\d{0,9}"
_number, _pair = re.compile(NUMBER), re.compile(rb"(" + INDEX + rb"):(" + NUMBER + rb")")
_example = re.compile(NUMBER + rb"(?:[ \t]+" + INDEX + rb":" + NUMBER + rb")*")
NUMBERLIKE = ("nan", "inf", "infinity", "na", "null", "none")  # words in a number's place
IDX = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}  # the type that a file's third byte names


class DataError(ValueError):
    """A file that is not what it should be, or cannot be read at all."""


class Labelled(NamedTuple):
    """Examples as LIBSVM files hold them."""

    X: Any  # scipy.sparse.csr_array, (examples, features)
    y: np.ndarray


def read_csv(
    path: str | os.PathLike,
    *,
    columns: Sequence[str | int] | None = None,
    header: bool | None = None,
    delimiter: str = ",",
    limit: int = LIMIT,
) -> np.ndarray:
    """A table of numbers (RFC 4180), as float64 of shape (rows, columns).

    The first row is a header if its cells start with letters, or are empty; where that does not tell, `header` does.
    `columns` chooses some, by name or by place from 0; only those have to hold numbers. Blank lines are passed over,
    but not within a single column, where a number may be missing.
    """
    if isinstance(columns, str):
        raise ValueError(f"columns={columns!r}: expected a list of them, like [{columns!r}]")
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(f"delimiter={delimiter!r}: expected one character, like ',' or ';'")
    rows = _cells(path, _contents(path, limit), delimiter)
    top, first = next((row for row in rows if row[1]), (0, []))
    if not first:
        raise DataError(f"{path} holds no rows")
    told = header if header is not None else any(first) and not any(map(_is_no_name, first))
    chosen = _places(path, first, told, columns)
    values, blank = array.array("d"), 0
    for line, row in rows if told else chain([(top, first)], rows):
        if not row:
            blank = line
            continue
        if blank and len(first) == 1:
            raise DataError(f"{path}, line {blank}: blank, in a file of one column: is a number missing there?")
        if len(row) != len(first):
            raise DataError(f"{path}, line {line}: {len(row)} cells, where the first row has {len(first)}")
        values.extend([_float(row[k], f"{path}, line {line}, column {k}") for k in chosen])
    if not values:
        raise DataError(f"{path} holds a header and no rows")
    return np.array(values).reshape(-1, len(chosen))


def read_libsvm(path: str | os.PathLike, *, features: int | None = None, limit: int = LIMIT) -> Labelled:
    """Lines of `label index:value index:value …`, indices from 1 and rising (Chang & Lin 2011).

    X is sparse, with as many columns as the largest index, or as `features` says: give it for a test set, in which the
    last features may not occur. After a # follows a comment.
    """
    from scipy import sparse

    labels, values, indices, ends = array.array("d"), array.array("d"), array.array("q"), array.array("q", [0])
    most = np.iinfo(np.int32).max if features is None else features
    for number, line in enumerate(io.BytesIO(_contents(path, limit)), 1):
        example = line.partition(b"#")[0].strip()
        if not example:
            continue
        if not _example.fullmatch(example):
            raise DataError(f"{path}, line {number}: {_why_no_example(example)}")
        label, *pairs = example.replace(b":", b" ").split()
        own = [int(index) for index in pairs[::2]]
        for before, after in pairwise(own):
            if after <= before:
                raise DataError(f"{path}, line {number}: index {after} follows {before}; expected rising indices")
        if own and own[-1] > most:
            raise DataError(f"{path}, line {number}: index {own[-1]}; expected at most {most}")
        its = [float(label), *map(float, pairs[1::2])]
        if not all(map(math.isfinite, its)):
            raise DataError(f"{path}, line {number}: a number beyond 1.8e308; expected finite numbers")
        labels.append(its[0])
        values.extend(its[1:])
        indices.extend(own)
        ends.append(len(indices))
    if not labels:
        raise DataError(f"{path} holds no examples")
    places = np.array(indices) - 1
    width = int(places.max(initial=-1)) + 1 if features is None else features
    X = sparse.csr_array((np.array(values), places, np.array(ends)), shape=(len(labels), width))
    return Labelled(X, np.array(labels))


def read_idx(path: str | os.PathLike, *, limit: int = LIMIT) -> np.ndarray:
    """An array as MNIST's files hold it (LeCun, Cortes & Burges 1998), in its own type: zero, zero, the type, the
    number of axes, their lengths as four bytes each, and the numbers row by row, all with the highest byte first."""
    data = _contents(path, limit)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX:
        known = ", ".join(f"0x{code:02x}" for code in IDX)
        raise DataError(f"{path}, byte 0: starts with {data[:4].hex(' ')}; IDX has 00 00, then one of {known}")
    dtype, start = np.dtype(IDX[data[2]]), 4 + 4 * data[3]
    if len(data) < start:
        raise DataError(f"{path}, byte {len(data)}: ends within the lengths of its {data[3]} axes")
    shape = tuple(map(int, np.frombuffer(data, ">u4", data[3], 4)))
    return _laid(f"{path}", shape, dtype, data, start).astype(dtype.newbyteorder("="))


def read_npz(path: str | os.PathLike, *, limit: int = LIMIT) -> dict[str, np.ndarray]:
    """The arrays of a NumPy archive by name: numbers, truth values and text, never Python objects."""
    data, arrays = _contents(path, limit), dict[str, np.ndarray]()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > limit:
                raise DataError(f"{path} unpacks to more than limit={limit:,} bytes; give a higher limit if it should")
            for member in members:
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise DataError(
                        f"{path}: {member.filename} is packed as NumPy packs nothing; save it with numpy.savez"
                    )
                name = member.filename.removesuffix(".npy")
                if name in arrays or name == member.filename:
                    raise DataError(f"{path}: member {member.filename} is not one of distinct .npy files")
                with archive.open(member) as file:
                    arrays[name] = _npy(f"{path}, {member.filename}", file.read(limit + 1))
    except DataError:
        raise
    except Exception as error:  # of any kind: zipfile follows damaged offsets and lengths wherever they lead
        raise DataError(f"{path} is no whole NPZ archive: {error}") from None
    return arrays


def _contents(path: str | os.PathLike, limit: int) -> bytes:
    """All bytes of a file, unpacked where it starts as gzip does."""
    parts, size = [], 0
    try:
        if not (os.path.isdir(path) or stat.S_ISREG(os.stat(path).st_mode)):
            raise DataError(f"{path} is no file, but a pipe or a device, which may never end")
        with open(path, "rb") as raw:
            packed = raw.read(2) == GZIP
            raw.seek(0)
            file: Any = gzip.GzipFile(fileobj=raw) if packed else raw
            while piece := file.read(PIECE):
                parts.append(piece)
                if (size := size + len(piece)) > limit:
                    raise DataError(
                        f"{path} unpacks to more than limit={limit:,} bytes; give a higher one if it should"
                    )
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged after byte {size} of what it packs: {error}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    return b"".join(parts)


def _laid(place: str, shape: tuple[int, ...], dtype: np.dtype, data: bytes, start: int, order: Any = "C") -> np.ndarray:
    """The array whose bytes begin at `start`: all of them, none left over, and every number finite."""
    wanted, there = math.prod(shape) * dtype.itemsize, len(data) - start
    sizes = "×".join(map(str, shape)) or "one"
    if wanted != there:
        raise DataError(f"{place}, byte {start}: {wanted:,} bytes declared, {sizes} of {dtype}, and {there:,} follow")
    values = np.frombuffer(data, dtype, offset=start) if wanted else np.empty(0, dtype)
    good = {"b": lambda: values.view(np.uint8) <= 1, "U": lambda: values.view(dtype.byteorder + "u4") <= sys.maxunicode}
    sound = good.get(dtype.kind, lambda: np.isfinite(values) if dtype.kind in "fc" else np.True_)()
    if not sound.all():
        where = start + int(np.argmin(sound)) * (len(data) - start) // sound.size
        raise DataError(f"{place}, byte {where}: no finite number, truth value or text, which {dtype} has to be")
    try:
        return values.reshape(shape, order=order)
    except ValueError as error:
        raise DataError(f"{place}, byte {start}: {sizes} of {dtype}: {error}") from None


def _npy(place: str, data: bytes) -> np.ndarray:
    """One member of an archive: a header, which is a Python literal, and the numbers."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = readers[version](file)
    except KeyError:
        raise DataError(f"{place}, byte 6: an unknown version of the format; save it again with numpy.savez") from None
    except (ValueError, TypeError, SyntaxError, OverflowError, RecursionError, MemoryError) as error:
        raise DataError(f"{place}, byte 0: no header of an array: {str(error).partition(chr(10))[0]}") from None
    if dtype.kind not in "biufcUS" or dtype.itemsize == 0 or min(shape, default=1) < 0:
        raise DataError(f"{place}: an array of {dtype}, shape {shape}; expected numbers, truth values or text")
    return _laid(place, shape, dtype, data, file.tell(), "F" if fortran else "C").astype(dtype.newbyteorder("="))


def _cells(path: str | os.PathLike, data: bytes, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file, blank ones as no cells, each with the number of its last line."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: byte {error.start} is no UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            yield reader.line_num, [cell.strip() for cell in row]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from None


def _places(path: str | os.PathLike, first: list[str], header: bool, columns: Sequence[str | int] | None) -> list[int]:
    """Which columns are wanted, as places from 0."""
    if columns is None:
        return list(range(len(first)))
    known: dict[Any, int] = {name: k for k, name in enumerate(first)} if header else {}
    known |= {k: k for k in range(len(first))}
    for column in columns:
        if header and isinstance(column, str) and first.count(column) > 1:
            raise DataError(f"{path} has two columns {column!r}; choose by place, from 0 to {len(first) - 1}")
        if column not in known:
            names = ", ".join(first) if header else f"0 to {len(first) - 1}, and no header"
            raise DataError(f"{path} has no column {column!r}; it has {names}")
    return [known[column] for column in columns]


def _is_no_name(cell: str) -> bool:
    return cell != "" and (cell.lower() in NUMBERLIKE or not (cell[0].isalpha() or cell[0] == "_"))


def _float(cell: str, place: str) -> float:
    """A finite decimal number."""
    if _number.fullmatch(cell.encode()) and math.isfinite(number := float(cell)):
        return number
    raise DataError(f"{place}: {cell[:40]!r}; expected a finite number")


def _why_no_example(line: bytes) -> str:
    """What is wrong with a line that is no `label index:value …`."""
    label, *pairs = line.split()
    for token in [label] * (not _number.fullmatch(label)) + [pair for pair in pairs if not _pair.fullmatch(pair)]:
        shown = token.decode(errors="replace")[:40]
        return f"{shown!r}; expected a label, then index:value with whole indices from 1 and finite numbers"
    return "something other than spaces and tabs between index:value"
