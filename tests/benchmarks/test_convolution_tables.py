"""Tables from small results that nobody measured."""

import pytest

from benchmarks import _convolution_tables, tables


HERE = {
    "jax": "1.2", "numpy": "5.6", "python": "3.11.7", "date": "2026-01-02",
    "peers": {"scipy": "7.8"},
}  # fmt: skip
SETTING = "Samples per row: 3. Abacus; JAX 1.2, scipy 7.8, NumPy 5.6, Python 3.11.7; "


def row(kind: str, method: str, part: str, milliseconds: float, **keys):
    seconds = {"median": milliseconds / 1e3, "min": milliseconds / 2e3, "n": 3}
    chosen = "fft" if method == "ours auto" else None
    return {
        "kind": kind, "method": method, "part": part, "seconds": seconds,
        "chosen": chosen, "hardware": "Abacus", **keys,
    }  # fmt: skip


def convolution(kind: str, *methods: str):
    size = {"batch": 2, "channels": 3, "n": 4096, "taps": 17}
    return [
        row(kind, method, part, (1 + i) * (1 + k), **size)
        for i, method in enumerate(methods)
        for k, part in enumerate(("forward", "gradient"))
        if not (method.startswith("scipy") and k)
    ]


def transform(kind: str, shape: list[int], *methods: str):
    return [
        row(kind, method, "forward", 0.5 + 200 * i, shape=shape, transform="haar")
        for i, method in enumerate(methods)
    ]


OURS = ("ours auto", "ours direct", "ours blocks", "ours fft")
RESULTS = {
    "fft_convolution": {
        "environment": HERE,
        "rows": [
            *convolution("long", *OURS, "padded", "jax.scipy", "scipy fftconvolve"),
            *convolution("partial", *OURS, "ours monarch", "padded", "jax.scipy"),
            *convolution("circular", "ours auto", "plain"),
            *convolution("sparse", "ours auto", "ours fft", "ours matmul"),
        ],
    },
    "lifting": {
        "environment": HERE,
        "rows": [
            *transform("image", [8, 512, 512], "ours", "PyWavelets"),
            *transform("hadamard", [16, 16384], "ours", "level by level"),
        ],
    },
}


def lines(name: str) -> list[str]:
    return tables.TABLES[name](tables.Results(RESULTS)).splitlines()


@pytest.mark.parametrize("name", _convolution_tables.TABLES)
def test_table_is_markdown_with_a_caption(name: str):
    header, marks, *rows, empty, caption = lines(name)
    columns = header.count("|")
    assert set(marks) <= set("| -:")
    assert rows
    assert all(line.count("|") == columns for line in (marks, *rows))
    assert empty == ""
    assert caption.endswith(SETTING + "2026-01-02.")


def test_ours_beside_peers():
    _, _, line, _, _ = lines("convolution_long")
    assert line == (
        "| 2 x 3 | 4,096 | 17 | fft | 1.00 / 2.00 | 5.00 / 10.0 | 6.00 / 12.0 | 7.00 "
        "| 5.0 / 5.0 |"
    )
    assert lines("convolution_partial")[2].endswith("| – | 6.0 / 6.0 |")


def test_every_method():
    _, _, long, partial, _, _ = lines("convolution_methods")
    assert long.endswith("| 2.00 / 4.00 | 3.00 / 6.00 | 4.00 / 8.00 | – |")
    assert partial.endswith("| 4.00 / 8.00 | 5.00 / 10.0 |")
    header = lines("convolution_sparse")[0]
    assert header.startswith("| signals | length | frequencies | auto is | fft ms |")


def test_transforms():
    header, _, line, _, caption = lines("wavelets")
    assert header.endswith(
        "| ours ms | ours lifting ms | convolution ms | PyWavelets ms |"
    )
    assert line == "| 8 x 512 x 512 | haar | forward | 0.500 | – | – | 200 |"
    assert "two levels" in caption
    assert lines("hadamard")[2].startswith(
        "| 16 x 16,384 | haar | forward | 0.500 | 200"
    )


def test_missing_rows_are_named():
    empty = {"lifting": {"environment": HERE, "rows": []}}
    with pytest.raises(ValueError, match=r"no rows of kind image or signal"):
        _convolution_tables.wavelets(empty)
