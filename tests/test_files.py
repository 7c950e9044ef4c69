"""Files are read exactly or refused: other readers agree, and no damage passes for data."""

import gzip
import io
import os
import struct
import time
import zipfile

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import dump_svmlight_file, load_svmlight_file

from sandbox.data import DataError, read_csv, read_idx, read_libsvm, read_npz

RNG = np.random.default_rng(7)


def written(folder, content, name="file", packed=False):
    path = folder / name
    path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    return path


def idx(array, code):
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("packed", [False, True])
def test_csv_is_what_numpy_reads(tmp_path, packed):
    table = RNG.normal(size=(20, 4)) * 10.0 ** RNG.integers(-300, 300, (20, 4))
    file = io.BytesIO()
    np.savetxt(file, table, delimiter=",", fmt="%.17g")
    np.testing.assert_array_equal(read_csv(written(tmp_path, file.getvalue(), packed=packed)), table)


def test_csv_headers_columns_quotes_and_line_ends(tmp_path):
    path = written(tmp_path, b'\xef\xbb\xbfname,"a, b",c\r\nx,1,2.5\r\n\r\ny,"-3e2", .5\r\n')
    np.testing.assert_array_equal(read_csv(path, columns=["c", "a, b"]), [[2.5, 1], [0.5, -300]])
    np.testing.assert_array_equal(read_csv(path, columns=[1]), [[1], [-300]])
    years = written(tmp_path, b"2001;2002\n1;2\n")
    np.testing.assert_array_equal(read_csv(years, header=True, delimiter=";"), [[1, 2]])
    np.testing.assert_array_equal(read_csv(years, delimiter=";"), [[2001, 2002], [1, 2]])


@pytest.mark.parametrize("packed", [False, True])
def test_libsvm_is_what_scikit_learn_reads(tmp_path, packed):
    X = sparse.random_array((30, 12), density=0.3, rng=1).tocsr()
    y, file = RNG.integers(-1, 2, 30), io.BytesIO()
    dump_svmlight_file(X, y, file, zero_based=False, comment="kept by no one")
    path = written(tmp_path, file.getvalue(), packed=packed)
    ours = read_libsvm(path, features=12)
    theirs, labels = load_svmlight_file(io.BytesIO(file.getvalue()), n_features=12, zero_based=False)
    np.testing.assert_array_equal(ours.X.toarray(), theirs.toarray())
    np.testing.assert_array_equal(ours.y, labels)
    assert ours.X.nnz == theirs.nnz


TYPES = {8: np.uint8, 9: np.int8, 11: np.int16, 12: np.int32, 13: np.float32, 14: np.float64}


@pytest.mark.parametrize("code", TYPES)
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 4), (0, 3)])
def test_idx_holds_its_array(tmp_path, code, shape):
    array = np.array(100 * RNG.normal(size=shape)).astype(TYPES[code])
    found = read_idx(written(tmp_path, idx(array, code), packed=code % 2 == 0))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_npz_holds_its_arrays(tmp_path):
    arrays = {"x": RNG.normal(size=(3, 2)), "n": np.arange(4)[::-1], "fortran": np.asfortranarray(np.eye(3)[:, :2])}
    arrays |= {"names": np.array(["α", "b"]), "yes": np.array([True, False]), "big": np.arange(3, dtype=">i4")}
    found = read_npz(written(tmp_path, npz(**arrays)))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


HEADER = np.lib.format.magic(1, 0)


def lying(shape, dtype="'<f8'", data=b"\0" * 8):
    """An archive whose member declares another shape or type than it holds."""
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(HEADER) + 2 + len(text) + 1) % 64) + b"\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", HEADER + struct.pack("<H", len(text)) + text + data)
    return file.getvalue()


BAD = {
    "csv: a hole in a column": (read_csv, b"y\n1\n\n3\n", "line 3"),
    "csv: question marks": (read_csv, b"?,?\n1,2\n", "line 1"),
    "csv: another delimiter": (read_csv, b"1,5;2,5\n3,5;4,5\n", "line 1"),
    "csv: a short row": (read_csv, b"1,2\n3\n", "line 2"),
    "csv: text": (read_csv, b"1,2\n3,x\n", "line 2, column 1"),
    "csv: a hole": (read_csv, b"1,2\n3,\n", "line 2, column 1"),
    "csv: NaN": (read_csv, b"a,b\n1,2\nnan,1\n", "line 3, column 0"),
    "csv: NaN at once": (read_csv, b"nan,nan\n1,2\n", "line 1"),
    "csv: too large": (read_csv, b"1,1e400\n", "line 1"),
    "csv: Python's own digits": (read_csv, b"1_0,2\n", "line 1"),
    "csv: a foreign digit": (read_csv, "1,٣\n".encode(), "line 1"),
    "csv: an open quote": (read_csv, b'1,"2\n3,4\n', "line 2"),
    "csv: NUL": (read_csv, b"1,2\n3,\0\n", "line 2"),
    "csv: not text": (read_csv, b"1,2\n\xff\xfe,3\n", "line 2"),
    "csv: nothing": (read_csv, b"\n\n", "no rows"),
    "csv: a header alone": (read_csv, b"a,b\n", "no rows"),
    "libsvm: index 0": (read_libsvm, b"1 0:1\n", "line 1: '0:1'"),
    "libsvm: falling": (read_libsvm, b"1 1:1\n-1 3:1 2:1\n", "line 2: index 2 follows 3"),
    "libsvm: twice": (read_libsvm, b"1 3:1 3:1\n", "line 1: index 3 follows 3"),
    "libsvm: NaN": (read_libsvm, b"1 1:nan\n", "line 1: '1:nan'"),
    "libsvm: too large": (read_libsvm, b"1 1:1e400\n", "line 1"),
    "libsvm: label": (read_libsvm, b"yes 1:1\n", "line 1: 'yes'"),
    "libsvm: label too large": (read_libsvm, b"1e999 1:1\n", "line 1"),
    "libsvm: far index": (read_libsvm, b"1 9999999999:1\n", "line 1: index 9999999999"),
    "libsvm: no index": (read_libsvm, b"1 " + b"9" * 5000 + b":1\n", "line 1"),
    "libsvm: negative": (read_libsvm, b"1 -1:1\n", "line 1: '-1:1'"),
    "libsvm: a query": (read_libsvm, b"1 qid:3 1:1\n", "line 1: 'qid:3'"),
    "libsvm: nothing": (read_libsvm, b"# all is comment\n", "no examples"),
    "idx: wrong magic": (read_idx, b"\x89PNG\r\n", "byte 0"),
    "idx: empty": (read_idx, b"", "byte 0"),
    "idx: cut in the head": (read_idx, b"\0\0\x08\x03\0\0", "byte 6"),
    "idx: too short": (read_idx, idx(np.arange(9, dtype=np.uint8), 8)[:-1], "byte 8"),
    "idx: too long": (read_idx, idx(np.arange(9, dtype=np.uint8), 8) + b"\0", "byte 8"),
    "idx: huge": (read_idx, b"\0\0\x0e\x04" + b"\xff" * 16, "byte 20"),
    "idx: 255 axes": (read_idx, b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"\0", "byte 1024"),
    "idx: NaN": (read_idx, idx(np.array([1, np.nan]), 14), "byte 16"),
    "npz: not one": (read_npz, b"PK but no archive", "NPZ"),
    "npz: a pickle": (read_npz, npz(x=np.array([{"a": 1}], dtype=object)), "x.npy"),
    "npz: NaN": (read_npz, npz(x=np.array([1, np.nan])), "x.npy, byte"),
    "npz: huge": (read_npz, lying((10**12, 10**12)), "x.npy, byte"),
    "npz: negative": (read_npz, lying((-1,)), "x.npy"),
    "npz: code": (read_npz, lying("__import__('os').getcwd()"), "x.npy"),
    "npz: no type": (read_npz, lying((1,), "'V8'"), "x.npy"),
    "npz: of no size": (read_npz, lying((10**12,), "'S0'", b""), "x.npy"),
    "npz: neither true nor false": (read_npz, lying((8,), "'|b1'", b"\7" * 8), "x.npy, byte"),
    "npz: no letter": (read_npz, lying((2,), "'<U1'", b"\xff" * 8), "x.npy, byte"),
    "npz: trailing": (read_npz, lying((1,), data=b"\0" * 9), "x.npy, byte"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("packed", [False, True])
def test_the_error_names_the_file_and_the_place(tmp_path, name, packed):
    read, content, place = BAD[name]
    with pytest.raises(DataError, match=r"^.*data\.file.*") as error:
        read(written(tmp_path, content, "data.file", packed))
    assert place in str(error.value)
    assert "\n" not in str(error.value)


GOOD = {
    "csv": (read_csv, b"a,b\n" + b"".join(b"%d,%d.5\n" % pair for pair in zip(range(40), range(40), strict=True))),
    "libsvm": (read_libsvm, b"".join(b"%d %d:1 %d:.25\n" % (k % 2, k + 1, k + 9) for k in range(40))),
    "idx": (read_idx, idx(RNG.integers(0, 256, (6, 5, 4)).astype(np.uint8), 8)),
    "npz": (read_npz, npz(x=RNG.normal(size=(7, 3)), y=np.arange(7))),
}


def plain(found):
    """What was read, to be compared."""
    if isinstance(found, dict):
        return {name: array.tolist() for name, array in found.items()}
    return (found[0].toarray().tolist(), found[1].tolist()) if isinstance(found, tuple) else found.tolist()


@pytest.mark.parametrize("name", GOOD)
def test_a_cut_or_flipped_gzip_is_refused_or_harmless(tmp_path, name):
    read, content = GOOD[name]
    whole = gzip.compress(content, mtime=0)
    expected = plain(read(written(tmp_path, content)))
    damaged = [whole[:k] for k in range(len(whole))]
    for k in range(8 * min(len(whole), 200)):
        flipped = bytearray(whole)
        flipped[k // 8] ^= 1 << k % 8
        damaged.append(bytes(flipped))
    for content in damaged:
        try:
            found = plain(read(written(tmp_path, content)))
        except DataError:
            continue
        assert found == expected


@pytest.mark.parametrize("name", ["idx", "npz"])
def test_a_cut_binary_is_refused(tmp_path, name):
    read, content = GOOD[name]
    for k in range(len(content)):
        with pytest.raises(DataError):
            read(written(tmp_path, content[:k]))


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("seed", range(3))
def test_noise_gives_finite_numbers_or_an_error(tmp_path, name, seed):
    """Any bytes replaced, doubled and left out: never another exception, and never a number that is none."""
    read, content = GOOD[name]
    rng = np.random.default_rng(seed)
    for _ in range(300):
        noisy = bytearray(content)
        for _ in range(rng.integers(1, 6)):
            at = int(rng.integers(len(noisy)))
            kind = rng.integers(4)
            if kind == 0:
                noisy[at] = rng.integers(256)
            elif kind == 1:
                noisy[at : at + int(rng.integers(1, 9))] = b""
            elif kind == 2:
                noisy[at:at] = rng.choice([b"nan", b"1e400", b"\0", b":", b",", b"-", b"\n", b"9" * 30, b'"'])
            else:
                noisy[at:at] = noisy[at : at + 20]
        try:
            found = read(written(tmp_path, bytes(noisy) or b"\0"))
        except DataError:
            continue
        arrays = found.values() if isinstance(found, dict) else found if isinstance(found, tuple) else [found]
        for array in arrays:
            assert np.isfinite(array.data if sparse.issparse(array) else array).all()


@pytest.mark.parametrize("read", [read_csv, read_libsvm, read_idx, read_npz])
def test_a_bomb_is_refused_before_it_bursts(tmp_path, read):
    bomb = written(tmp_path, b"1" * (1 << 22), packed=True)
    with pytest.raises(DataError, match=r"more than limit=1,048,576 bytes"):
        read(bomb, limit=1 << 20)


def test_an_archive_that_unpacks_to_more_than_the_limit_is_refused(tmp_path):
    path = written(tmp_path, npz(x=np.zeros(1 << 18)))
    with pytest.raises(DataError, match="more than limit"):
        read_npz(path, limit=1 << 20)


@pytest.mark.parametrize("line", [b"1" * 10**6 + b"x", b"1 1:" + b"1" * 10**6 + b"x", b"1 " * 10**5, b"1 1:1 " * 10**4])
def test_long_lines_take_no_longer_than_they_are(tmp_path, line):
    began = time.perf_counter()
    with pytest.raises(DataError):
        read_libsvm(written(tmp_path, line))
    assert time.perf_counter() - began < 5  # a pattern that backtracks takes hours


@pytest.mark.parametrize("read", [read_csv, read_libsvm, read_idx, read_npz])
def test_what_is_not_there_is_said(tmp_path, read):
    with pytest.raises(DataError, match=r"nowhere.* cannot be read: No such file"):
        read(tmp_path / "nowhere")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read(tmp_path)


def test_a_test_set_may_lack_the_last_features_but_not_have_more(tmp_path):
    path = written(tmp_path, b"1 2:1\n-1 4:1\n")
    assert read_libsvm(path).X.shape == (2, 4)
    assert read_libsvm(path, features=9).X.shape == (2, 9)
    with pytest.raises(DataError, match="line 2: index 4; expected at most 3"):
        read_libsvm(path, features=3)


def test_a_bomb_of_another_kind_is_refused(tmp_path):
    """zipfile would unpack all of it, whatever the archive declares."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.npy", b"0" * (1 << 20))
    with pytest.raises(DataError, match=r"x\.npy is packed as NumPy packs nothing"):
        read_npz(written(tmp_path, file.getvalue()))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is no file, but a pipe"):
        read_csv(tmp_path / "pipe")


def test_one_name_for_two_columns_leaves_their_places(tmp_path):
    path = written(tmp_path, b"a,a,b\n1,2,3\n")
    np.testing.assert_array_equal(read_csv(path, columns=[1, "b"]), [[2, 3]])
    with pytest.raises(DataError, match="two columns 'a'; choose by place, from 0 to 2"):
        read_csv(path, columns=["a"])
    with pytest.raises(ValueError, match=r"expected a list of them, like \['b'\]"):
        read_csv(path, columns="b")


def test_columns_that_do_not_exist_are_named(tmp_path):
    path = written(tmp_path, b"height,weight\n1,2\n")
    with pytest.raises(DataError, match="no column 'width'; it has height, weight"):
        read_csv(path, columns=["width"])
    with pytest.raises(ValueError, match="one character"):
        read_csv(path, delimiter="::")
