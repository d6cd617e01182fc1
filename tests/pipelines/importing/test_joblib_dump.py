"""Dumps of many versions bit for bit, and hostile ones without anything being run."""

import lzma
import pickle
import random
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.cluster import KMeans, MiniBatchKMeans

from dvse.errors import BundleError, UnsafeFileError, WeightsFormatError
from pipelines.importing import inert_unpickler
from pipelines.importing.joblib_dump import read_joblib_kmeans

CASES = Path(__file__).parent / "km"
RNG = np.random.default_rng(0)


def fitted(kind=MiniBatchKMeans, dtype=np.float32, num_codes=5, dim=7):
    return kind(n_clusters=num_codes, n_init=1, random_state=0).fit(
        RNG.standard_normal((60, dim)).astype(dtype)
    )


@pytest.mark.parametrize("path", sorted(CASES.glob("*Means_*.bin")), ids=lambda path: path.stem)
def test_dumps_of_older_versions(path):
    read = read_joblib_kmeans(path)
    wanted = np.load(path.with_suffix(".npy"))
    assert read.centroids.dtype == wanted.dtype
    assert read.centroids.tobytes() == wanted.tobytes()
    assert read.class_name.endswith(path.stem.split("_")[0])
    assert f"sklearn{read.sklearn_version}" in path.name


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "compress", [0, 3, ("zlib", 1), ("gzip", 1), ("bz2", 1), ("xz", 1), ("lzma", 1)], ids=str
)
def test_dumps_of_the_installed_version(tmp_path, kind, dtype, compress):
    model = fitted(kind, dtype)
    joblib.dump(model, tmp_path / "km.bin", compress=compress)
    read = read_joblib_kmeans(tmp_path / "km.bin")
    assert read.centroids.dtype == model.cluster_centers_.dtype
    assert read.centroids.tobytes() == model.cluster_centers_.tobytes()


def as_joblib(model, path, protocol):
    joblib.dump(model, path, protocol=protocol)


def as_pickle(model, path, protocol):
    path.write_bytes(pickle.dumps(model, protocol))


writers = pytest.mark.parametrize("write", [as_joblib, as_pickle])


@writers
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(tmp_path, write, protocol):
    model = fitted()
    write(model, tmp_path / "km.bin", protocol)
    assert (read_joblib_kmeans(tmp_path / "km.bin").centroids == model.cluster_centers_).all()


@writers
@pytest.mark.parametrize("dtype", [">f4", "<f8", ">f8", "<f2", ">f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_layout_of_an_array(tmp_path, write, dtype, order):
    model = fitted()
    model.cluster_centers_ = np.asarray(model.cluster_centers_.astype(dtype), order=order)
    write(model, tmp_path / "km.bin", 4)
    read = read_joblib_kmeans(tmp_path / "km.bin").centroids
    assert (read == model.cluster_centers_).all()
    assert read.dtype == np.dtype(dtype).newbyteorder("=") and read.flags["C_CONTIGUOUS"]


@writers
def test_an_array_that_was_mapped(tmp_path, write):
    model = fitted()
    mapped = np.memmap(tmp_path / "array", np.float32, "w+", shape=(5, 7))
    mapped[:] = model.cluster_centers_
    model.cluster_centers_ = mapped
    write(model, tmp_path / "km.bin", 4)
    assert (read_joblib_kmeans(tmp_path / "km.bin").centroids == mapped).all()


@writers
def test_a_model_that_goes_on_learning(tmp_path, write):
    """Its generator of random numbers lies in the dump."""
    model = MiniBatchKMeans(n_clusters=5, n_init=1, random_state=np.random.RandomState(3))
    for _ in range(2):
        model.partial_fit(RNG.standard_normal((60, 7)).astype(np.float32))
    write(model, tmp_path / "km.bin", 4)
    assert (read_joblib_kmeans(tmp_path / "km.bin").centroids == model.cluster_centers_).all()


def test_a_plain_pickle_of_a_large_codebook(tmp_path):
    model = fitted()
    model.cluster_centers_ = RNG.standard_normal((2000, 1024)).astype(np.float32)  # 8 MB
    for protocol in (2, 4, 5):
        as_pickle(model, tmp_path / "km.bin", protocol)
        assert (read_joblib_kmeans(tmp_path / "km.bin").centroids == model.cluster_centers_).all()


@pytest.mark.parametrize("path", sorted(CASES.glob("hostile_*.bin")), ids=lambda path: path.stem)
def test_hostile_dumps_are_refused(path):
    with pytest.raises(BundleError, match=path.name):
        read_joblib_kmeans(path)


class Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        (eval, "print('run')"),
        (exec, "print('run')"),
        (getattr, "a", "upper"),
        (subprocess.Popen, ["true"]),
        (__import__, "os"),
        (np.load, "x.npy"),  # inside numpy, and it can run pickles
        (joblib.load, "x"),
        (bytearray, 1 << 40),
    ],
    ids=lambda call: call[0].__name__,
)
def test_a_call_hidden_in_an_estimator_is_never_made(tmp_path, call):
    model = fitted()
    model.extra = Runs(*call)
    joblib.dump(model, tmp_path / "km.bin")
    with pytest.raises(UnsafeFileError, match="was not run"):
        read_joblib_kmeans(tmp_path / "km.bin")


@pytest.mark.parametrize("compress", ["zlib", "gzip", "bz2", "xz"])
def test_a_bomb_costs_no_memory(tmp_path, compress):
    model = fitted()
    model.extra = np.zeros(100 << 20, np.int8)  # packs to next to nothing, and nobody asks for it
    joblib.dump(model, tmp_path / "km.bin", compress=(compress, 1))
    del model
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from pipelines.importing.joblib_dump import read_joblib_kmeans\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"read_joblib_kmeans(Path({str(tmp_path / 'km.bin')!r}))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40_000  # KiB


def test_a_codebook_that_claims_to_be_huge(tmp_path):
    model = fitted()
    joblib.dump(model, tmp_path / "km.bin")
    data = (tmp_path / "km.bin").read_bytes()
    # The shape (5, 7) as two one-byte numbers becomes (5, 2 GiB).
    huge = data.replace(b"K\x05K\x07\x86", b"K\x05J\xff\xff\xff\x7f\x86", 1)
    assert huge != data
    (tmp_path / "km.bin").write_bytes(huge)
    with pytest.raises(WeightsFormatError, match=r"at most 1024 MB"):
        read_joblib_kmeans(tmp_path / "km.bin")


def test_an_estimator_that_was_never_fitted(tmp_path):
    joblib.dump(KMeans(), tmp_path / "km.bin")
    with pytest.raises(WeightsFormatError, match="before it was fitted"):
        read_joblib_kmeans(tmp_path / "km.bin")


def test_not_a_number(tmp_path):
    model = fitted()
    model.cluster_centers_[0, 0] = np.nan
    joblib.dump(model, tmp_path / "km.bin")
    with pytest.raises(WeightsFormatError, match="finite"):
        read_joblib_kmeans(tmp_path / "km.bin")


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"hello", b"\x80\x04N.", b"(" * 100_000])
def test_no_dump_at_all(tmp_path, content):
    (tmp_path / "km.bin").write_bytes(content)
    with pytest.raises(WeightsFormatError, match=r"km\.bin: expected"):
        read_joblib_kmeans(tmp_path / "km.bin")


def text(content):
    return b"X" + struct.pack("<I", len(content)) + content


ESTIMATOR = b"\x80\x02csklearn.cluster._kmeans\nKMeans\n"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (ESTIMATOR + b")\x81.", "before it was fitted"),
        (ESTIMATOR + b".", "one of something else"),
        (ESTIMATOR + b")\x81Nb.", "without its attributes"),
        (
            # One text of a megabyte, made into bytes 100,000 times.
            b"\x80\x02c_codecs\nencode\nq\0" + text(b"a" * (1 << 20)) + b"q\1"
            + text(b"latin1") + b"q\2" + b"h\0h\1h\2\x86R" * 20_000 + b".",
            "one of something else",
        ),
        (
            ESTIMATOR + b")\x81}" + text(b"cluster_centers_")
            + b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(" + text(b"dtype")
            + b"cnumpy\ndtype\n(" + text(b"f4") + b"tR" + text(b"order") + text(b"C")
            + text(b"shape") + b"(" + b"J\xff\xff\xff\x7f" * 100_000 + b"tubsb.",
            "without a shape",
        ),
    ],
    ids=["no state", "no object", "no dictionary", "bytes again and again", "many dimensions"],
)  # fmt: skip
def test_programs_that_no_library_writes(tmp_path, program, message):
    (tmp_path / "km.bin").write_bytes(program)
    tracemalloc.start()
    try:
        with pytest.raises(WeightsFormatError, match=message):
            read_joblib_kmeans(tmp_path / "km.bin")
        assert tracemalloc.get_traced_memory()[1] < 120 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [lzma.FORMAT_XZ, lzma.FORMAT_ALONE])
def test_a_dictionary_of_a_gigabyte_is_not_made(tmp_path, kind):
    name = lzma.FILTER_LZMA2 if kind == lzma.FORMAT_XZ else lzma.FILTER_LZMA1
    filters = [{"id": name, "dict_size": 1 << 30, "preset": 0}]
    (tmp_path / "km.bin").write_bytes(lzma.compress(b"\x80\2N.", kind, filters=filters))
    with pytest.raises(WeightsFormatError, match="Memory usage limit"):
        read_joblib_kmeans(tmp_path / "km.bin")


@pytest.mark.parametrize(
    "opcode",
    [pickle.BYTEARRAY8, pickle.BINBYTES8, pickle.BINUNICODE8, pickle.FRAME],
    ids=["bytearray", "bytes", "text", "frame"],
)
def test_a_size_that_is_only_claimed_costs_no_memory(tmp_path, opcode):
    path = next(CASES.glob("MiniBatch*raw_sklearn1*.bin"))
    dump = path.read_bytes()
    at = dump.index(b"n_clusters") - 5
    (tmp_path / "km.bin").write_bytes(dump[:at] + opcode + struct.pack("<Q", 1 << 40) + dump[at:])
    tracemalloc.start()
    try:
        with pytest.raises(WeightsFormatError, match=r"km\.bin: expected"):
            read_joblib_kmeans(tmp_path / "km.bin")
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_instructions_that_only_fill_memory_end_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(inert_unpickler, "MAX_OTHER_BYTES", 200_000)  # the same, and quick
    (tmp_path / "km.bin").write_bytes(b"\x80\x03N" + b"2" * 300_000 + b".")
    with pytest.raises(WeightsFormatError, match="little beside it, received more"):
        read_joblib_kmeans(tmp_path / "km.bin")


def test_fuzz_of_every_shipped_dump_with_other_instructions(tmp_path):
    """Opcodes put in the place of others; a size of four or eight bytes made absurd."""
    rng = random.Random(1)
    opcodes = [bytes([value]) for value in sorted(pickle._Unpickler.dispatch)]
    dumps = [path.read_bytes() for path in sorted(CASES.glob("*_raw_*.bin"))]
    path = tmp_path / "km.bin"
    for _ in range(400):
        data = bytearray(rng.choice(dumps))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            data[at : at + 1] = rng.choice(opcodes) + rng.choice(
                [b"", b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0" * 6 + b"\1\0"]
            )
        path.write_bytes(data)
        try:
            assert np.isfinite(read_joblib_kmeans(path).centroids).all()
        except (UnsafeFileError, WeightsFormatError) as error:
            assert "km.bin" in str(error)


def test_fuzz(tmp_path):
    """Flipped, cut and joined bytes end in one of two errors, or in centroids; nothing else."""
    joblib.dump(fitted(), tmp_path / "seed.bin")
    seed = (tmp_path / "seed.bin").read_bytes()
    rng = random.Random(0)
    path = tmp_path / "km.bin"
    for _ in range(500):
        data = bytearray(seed)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(data))
            how = rng.randrange(3)
            if how == 0:
                data[at] = rng.randrange(256)
            elif how == 1:
                del data[at : at + rng.randint(1, 40)]
            else:
                data[at:at] = data[rng.randrange(len(data)) :][: rng.randint(1, 40)]
            data = data or bytearray(b"x")
        path.write_bytes(data)
        try:
            assert np.isfinite(read_joblib_kmeans(path).centroids).all()
        except (UnsafeFileError, WeightsFormatError) as error:
            assert "km.bin" in str(error)


def test_neither_joblib_nor_scikit_learn_is_imported():
    path = next(CASES.glob("MiniBatch*.bin"))
    code = (
        "import sys; from pathlib import Path\n"
        "from pipelines.importing.joblib_dump import read_joblib_kmeans\n"
        f"read_joblib_kmeans(Path({str(path)!r}))\n"
        "print(sorted({'joblib', 'sklearn', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
