"""Readers of files: MNIST's, CIFAR's, npz; limits, and options that they refuse."""

import gzip
import struct
import zipfile
from functools import partial

import numpy as np
import pytest
from flax import nnx

from jaxvision import _npz, data
from jaxvision.data import files
from jaxvision.weights import load_weights


def idx(array, code):
    head = bytes([0, 0, code, array.ndim]) + struct.pack(
        f">{array.ndim}I", *array.shape
    )
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def test_idx(tmp_path, rng):
    for code, kind in ((8, "u1"), (11, "i2"), (13, "f4")):
        array = rng.integers(0, 100, (3, 4)).astype(kind)
        (tmp_path / "a").write_bytes(idx(array, code))
        (tmp_path / "a.gz").write_bytes(gzip.compress(idx(array, code)))
        for name in ("a", "a.gz"):
            found = data.read_idx(tmp_path / name)
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)


def test_mnist(tmp_path, rng):
    images = rng.integers(0, 256, (5, 28, 28)).astype("u1")
    labels = rng.integers(0, 10, 5).astype("u1")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images, 8))
    with pytest.raises(data.DataError, match="must hold train-labels-idx1-ubyte"):
        data.read_mnist(tmp_path)
    compressed = tmp_path / "train-labels-idx1-ubyte.gz"
    compressed.write_bytes(gzip.compress(idx(labels, 8)))
    found = data.read_mnist(tmp_path)
    np.testing.assert_allclose(found["image"][..., 0], images / 255, rtol=1e-6)
    assert found["label"].tolist() == labels.tolist()
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(images[:2], 8))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels[3:], 8))
    both = data.read_images(tmp_path, 28, channels=1, split="all")
    assert both["label"].tolist() == [*labels, *labels[3:]]
    np.testing.assert_array_equal(both["image"][5:], found["image"][:2])
    (tmp_path / "train-images-idx3-ubyte").rename(tmp_path / "x")
    held = data.read_images(tmp_path, 28, channels=1, split="test")
    assert held["label"].tolist() == labels[3:].tolist()
    with pytest.raises(
        data.DataError, match=r"idx3-ubyte, .* for split='train', got .*'test' is there"
    ):
        data.read_images(tmp_path, 28, channels=1)
    (tmp_path / "x").rename(tmp_path / "train-images-idx3-ubyte")
    with pytest.raises(ValueError, match="must be 'train', 'test' or 'all', got 'val'"):
        data.read_mnist(tmp_path, split="val")
    compressed.write_bytes(gzip.compress(idx(labels[:3], 8)))
    with pytest.raises(data.DataError, match="as many labels as images, got 3 and 5"):
        data.read_mnist(tmp_path)
    compressed.write_bytes(gzip.compress(idx(images, 8)))
    with pytest.raises(data.DataError, match=r"with 1 axes, got uint8\[5, 28, 28"):
        data.read_mnist(tmp_path)


def test_idx_refuses(tmp_path):
    path = tmp_path / "x"
    good = idx(np.arange(6, dtype="u1").reshape(2, 3), 8)
    for content, match in (
        (b"\1\2\3\4", "must be an idx file, got"),
        (good[:-1], r"must hold 6 bytes for the shape \(2, 3\), got 5"),
        (good + b"x", "must hold 6 bytes .* got more"),
        (good[:6], "cannot read .*x: "),
        (bytes([0, 0, 8, 2]) + struct.pack(">2I", 2**31, 9), "must be at most"),
        (bytes([0, 0, 8, 99]) + struct.pack(">99I", *[1] * 99) + b"x", "be an idx fil"),
    ):
        path.write_bytes(content)
        with pytest.raises(data.DataError, match=match):
            data.read_idx(path)
    (tmp_path / "x.gz").write_bytes(gzip.compress(good)[:-9])
    with pytest.raises(data.DataError, match=r"cannot read .*x.gz: "):
        data.read_idx(tmp_path / "x.gz")
    with pytest.raises(data.DataError, match=r"cannot read .*none: "):
        data.read_idx(tmp_path / "none")


@pytest.mark.parametrize(("kind", "labels"), [("cifar10", 1), ("cifar100", 2)])
def test_cifar(kind, labels, tmp_path, rng):
    rows = rng.integers(0, 10, (4, labels + 3072)).astype("u1")
    names = [f"data_batch_{i}.bin" for i in range(1, 6)]
    for name in names if kind == "cifar10" else ["train.bin"]:
        rows.tofile(tmp_path / name)
    found = data.read_cifar(tmp_path, kind=kind)
    assert len(found["image"]) == (20 if kind == "cifar10" else 4)
    assert found["label"][:4].tolist() == rows[:, labels - 1].tolist()
    rows[:3].tofile(tmp_path / ("test_batch.bin" if labels == 1 else "test.bin"))
    both = data.read_images(tmp_path, 32, channels=3, split="all")
    assert len(both["image"]) == len(found["image"]) + 3
    assert both["label"][-3:].tolist() == rows[:3, labels - 1].tolist()
    # The second row's green pixel at row 3, column 4.
    value = rows[1, labels + 1024 + 3 * 32 + 4]
    assert found["image"][1, 3, 4, 1] == pytest.approx(value / 255)


def test_cifar_refuses(tmp_path):
    with pytest.raises(ValueError, match=r"`kind` must be one of .*got 'cifar'"):
        data.read_cifar(tmp_path, kind="cifar")
    with pytest.raises(ValueError, match="must be 'train', 'test' or 'all', got 'x'"):
        data.read_cifar(tmp_path, split="x")
    path = tmp_path / "a.bin"
    with pytest.raises(data.DataError, match=r"cannot read .*a.bin"):
        data.read_cifar(path)
    path.write_bytes(bytes(3000))
    with pytest.raises(
        data.DataError, match=r"records of 3073 bytes, .*, got 3000 bytes"
    ):
        data.read_cifar(path)
    path.write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(data.DataError, match=r"labels below 10, got 10$"):
        data.read_cifar(path, damaged="skip")
    with pytest.raises(ValueError, match=r"`damaged` must be one of .*, got 'x'"):
        data.read_cifar(path, damaged="x")


def test_damaged_batches_of_cifar_are_skipped(tmp_path, monkeypatch):
    for i in range(1, 6):
        (tmp_path / f"data_batch_{i}.bin").write_bytes(bytes([i]) + bytes(3072))
    (tmp_path / "data_batch_2.bin").write_bytes(bytes(99))
    with pytest.raises(data.DataError, match=r"2.bin .* got 99 bytes; damaged='skip'"):
        data.read_images(tmp_path, 32, channels=3)
    with pytest.warns(UserWarning, match=r"left out: .*data_batch_2.bin"):
        found = data.read_images(tmp_path, 32, channels=3, damaged="skip")
    assert found["label"].tolist() == [1, 3, 4, 5]
    with pytest.raises(
        data.DataError, match=r"'test', got no test_batch.bin; split='t"
    ):
        data.read_images(tmp_path, 32, channels=3, split="test", damaged="skip")
    (tmp_path / "data_batch_4.bin").rename(tmp_path / "x")
    with pytest.raises(data.DataError, match=r"5.bin for .* got no data_batch_4.bin$"):
        data.read_images(tmp_path, 32, channels=3, damaged="skip")
    (tmp_path / "x").rename(tmp_path / "data_batch_4.bin")
    monkeypatch.setattr(files, "MOST_BYTES", 3072)
    with (
        pytest.warns(UserWarning, match="at most 3,072 bytes"),
        pytest.raises(data.DataError, match="must hold a file that can be read"),
    ):
        data.read_cifar(tmp_path, damaged="skip")


def test_options_that_the_data_do_not_have(tmp_path):
    """Nothing is ignored."""
    path = tmp_path / "a.npz"
    np.savez(path, image=np.zeros((1, 4, 4), np.uint8))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"damaged")
    folder = tmp_path / "folder"
    folder.mkdir()
    read = partial(data.read_images, size=4, channels=1)
    path.rename(folder / "a.npz")
    with pytest.raises(
        data.DataError, match=r"got none; a.npz is read by its own path"
    ):
        read(folder)
    (folder / "a.npz").rename(path)
    for where in (path, tmp_path, folder):
        with pytest.raises(ValueError, match=r"`damaged` must be one of .*got 'bogus'"):
            read(where, damaged="bogus")
        with pytest.raises(ValueError, match=r"`split` must be 'train', .*'bogus'"):
            read(where, split="bogus")
        with pytest.raises(ValueError, match="`size` must be a positive integer, got "):
            read(where, size=4.0)
    for where in (path, tmp_path):
        with pytest.raises(ValueError, match=r"must be 'raise' for .*, got 'skip'"):
            read(where, damaged="skip")
    for where in (path, folder):
        with pytest.raises(ValueError, match=r"`split` must be left out .*'test': "):
            read(where, split="test")
    assert data.splits_of(tmp_path) == ("train", "test")
    assert data.splits_of(path) == data.splits_of(folder) == ()


def test_npz(tmp_path, rng):
    path = tmp_path / "a.npz"
    images = rng.integers(0, 256, (3, 4, 5)).astype("u1")
    np.savez(path, x=images, y=np.arange(3))
    found = data.read_npz(path, {"image": "x", "label": "y"})
    np.testing.assert_allclose(found["image"][..., 0], images / 255, rtol=1e-6)
    assert found["label"].tolist() == [0, 1, 2]
    with pytest.raises(
        data.DataError, match="an array 'image', got 'x', 'y'; arrays are"
    ):
        data.read_npz(path)
    np.savez(path, image=images, label=np.arange(3)[:, None])
    assert data.read_npz(path)["label"].tolist() == [0, 1, 2]
    np.savez(path, image=np.array([{"a": 1}], dtype=object))
    with pytest.raises(data.DataError, match=r"cannot read .*allow_pickle"):
        data.read_npz(path)
    np.savez(path, image=np.ones(3))
    with pytest.raises(data.DataError, match=r"must have images .* got shape \(3,\)"):
        data.read_npz(path)
    np.savez(path, image=images, label=np.arange(2))
    with pytest.raises(data.DataError, match=r"3 integer labels .* got int64\[2\]"):
        data.read_npz(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(data.DataError, match=r"cannot read .*a.npz"):
        data.read_npz(path)


def test_npz_with_the_names_of_keras(tmp_path, rng):
    path = tmp_path / "a.npz"
    train, test = (rng.integers(0, 256, (n, 4, 4)).astype("u1") for n in (3, 2))
    arrays = {"x_train": train, "y_train": [[2], [1], [0]], "x_test": test}
    np.savez(path, **arrays, y_test=[1, 2])
    assert data.splits_of(path) == ("train", "test")
    found = {s: data.read_npz(path, split=s) for s in (None, "train", "test", "all")}
    for split, images, labels in (
        (None, train, [2, 1, 0]),
        ("train", train, [2, 1, 0]),
        ("test", test, [1, 2]),
        ("all", [*train, *test], [2, 1, 0, 1, 2]),
    ):
        expected = np.divide(images, 255)
        np.testing.assert_allclose(found[split]["image"][..., 0], expected, rtol=1e-6)
        assert found[split]["label"].tolist() == labels
    held = data.read_images(path, 4, channels=1, split="test")
    np.testing.assert_array_equal(held["image"], found["test"]["image"])
    with pytest.raises(ValueError, match=r"`damaged` must be 'raise' for .*a.npz"):
        data.read_images(path, 4, channels=1, damaged="skip")
    with pytest.raises(ValueError, match="must be 'train', 'test' or 'all', got 'x'"):
        data.read_npz(path, split="x")
    with pytest.raises(ValueError, match=r"`split` must be left out .*, got 'test'"):
        data.read_npz(path, {"image": "x_train"}, split="test")
    np.savez(path, **arrays)
    assert set(data.read_npz(path, split="test")) == {"image"}
    with pytest.raises(data.DataError, match=r"in both parts for split='all', got"):
        data.read_npz(path, split="all")
    np.savez(path, x_train=train)
    with pytest.raises(data.DataError, match="an array 'x_test', got 'x_train'"):
        data.read_npz(path, split="test")


@pytest.mark.parametrize(
    ("kind", "full"), [("uint16", 65535), (">u2", 65535), ("bool", 1), ("float64", 1)]
)
def test_npz_images_are_in_the_unit_interval(kind, full, tmp_path):
    images = (np.linspace(0, 1, 8).reshape(2, 2, 2) * full).astype(kind)
    np.savez(tmp_path / "a.npz", image=images)
    found = data.read_npz(tmp_path / "a.npz")["image"]
    np.testing.assert_allclose(found[..., 0], images / full, atol=1e-7)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"image": np.array([0.5, np.nan, 0, np.nan])[:, None, None]},
            r"images of floats from 0 to 1 in 'image', got NaN in row 1 \(2 of 4 rows",
        ),
        (
            {"image": np.array([0.5, 1, 255.0])[:, None, None]},
            "images of floats from 0 to 1 .*, got values from 255 to 255 in row 2",
        ),
        (
            {"image": np.full((1, 2, 2), -0.5)},
            "images of .* values from -0.5 to -0.5 in row 0",
        ),
        (
            {"image": np.array([[[0, 255]]])},
            "images of bool, uint8, .* in 'image', got int64, values from 0 to 255",
        ),
        (
            {"image": np.zeros((1, 2, 2), complex)},
            "images of bool.* or floats .*, got complex128$",
        ),
        ({"image": np.full((1, 2, 2), "1.0")}, "images of bool, uint8, .*, got <U3"),
        ({"label": np.array(3)}, r"1 integer labels .*, got int64\[\]"),
        ({"label": np.zeros((1, 2, 2), int)}, r"1 integer labels .*\[1, 2, 2\]"),
        (
            {"label": np.array([2**32])},
            r"1 integer labels of at most 32 bits in 'label', got int64\[1\]",
        ),
        ({"label": np.array(["a"])}, r"1 integer labels .*, got <U1\[1\]"),
    ],
)
def test_npz_refuses(arrays, message, tmp_path):
    np.savez(tmp_path / "a.npz", **{"image": np.zeros((1, 2, 2))} | arrays)
    with pytest.raises(data.DataError, match="a.npz must have " + message):
        data.read_npz(tmp_path / "a.npz")


def test_npz_files_of_bounded_size(tmp_path, monkeypatch):
    """What is read counts, as the directory of the archive says, before unpacking."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, image=np.zeros((1, 64, 64), np.uint8), x=np.zeros(9000))
    monkeypatch.setattr(_npz, "MOST_BYTES", 5000)
    assert len(data.read_npz(path)["image"]) == 1
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    for read in (
        partial(data.read_npz, names={"image": "x"}),
        partial(load_weights, model),
    ):
        with pytest.raises(ValueError, match=r"read .*a.npz: .*most 5,000 bytes, got "):
            read(path)
    with zipfile.ZipFile(path, "w") as archive:
        header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%s,), }" % (
            b"9" * 30
        )
        size = struct.pack("<H", len(header))
        archive.writestr("image.npy", b"\x93NUMPY\x01\x00" + size + header)
        archive.writestr("x", b"no array")
    for names in (None, {"image": "x"}):
        with pytest.raises(data.DataError, match=r"cannot read .*a.npz: "):
            data.read_npz(path, names)
    np.save(tmp_path / "b.npy", np.zeros(3))
    with pytest.raises(data.DataError, match=r"cannot read .*b.npy: .*not a zip file"):
        data.read_npz(tmp_path / "b.npy")
