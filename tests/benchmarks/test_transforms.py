"""The transform benchmarks at small size, and their tables."""

import pytest

from benchmarks import _transform_tables, dct, dct_attention, tables


HERE = {
    "cpu": "Some CPU",
    "cores": 2,
    "jax": "0.10.2",
    "optax": "0.2.8",
    "numpy": "2.4",
    "python": "3.11.7",
    "date": "2026-11-21",
    "peers": {"scipy": "1.17"},
}


@pytest.fixture(scope="module")
def dct_rows():
    return dct.measure((2, 8, 8), repeats=1) + dct.measure((3, 5), repeats=1)


@pytest.fixture(scope="module")
def attention_rows():
    small = dct_attention.measure(1, 7, 2, 7, repeats=1)
    return small + dct_attention.measure(1, 8, 2, 7, repeats=1)


def test_dct(dct_rows):
    assert [row["kind"] for row in dct_rows] == ["forward", "gradient"] * 2
    assert dct_rows[0]["shape"] == [2, 8, 8]
    for row in dct_rows:
        assert set(row["seconds"]) == {"ours", "jax", "scipy"}
        assert row["largest_error"] < 1e-5
        assert "of scipy" in dct.line(row)


def test_shapes():
    assert dct.shape(512, 2) == (8, 512, 512)
    assert dct.shape(8, 2) == (16384, 8, 8)
    assert dct.shape(2048, 1) == (512, 2048)
    assert all(min(dims) >= 1 for dims, _ in dct.plan())


def test_attention(attention_rows):
    assert set(attention_rows[0]["seconds"]) == {"auto", "direct", "vectorized"}
    assert set(attention_rows[2]["seconds"]) == {"auto", "direct"}
    for row in attention_rows:
        assert row["largest_difference"] < 1e-6
        assert row["map_bytes"] == 4 * 7 * 7 * 2
        assert row["temporary_bytes"]["auto"] > 0
        assert "difference" in dct_attention.line(row)


def test_tables(dct_rows, attention_rows):
    results = {
        "dct": {"environment": HERE, "rows": dct_rows},
        "dct_attention": {"environment": HERE, "rows": attention_rows},
    }
    for name, start in [
        ("dct", "| 2 × 8 × 8 | float32 |"),
        ("dct_attention", "| 1 × 7² × 2 | 7 |"),
    ]:
        header, marks, first, _, empty, caption = tables.TABLES[name](results).split(
            "\n"
        )
        assert first.startswith(start)
        assert header.count("|") == marks.count("|") == first.count("|")
        assert empty == ""
        assert caption.endswith("Python 3.11.7; 2026-11-21.")
        assert "Samples: 1." in caption


def test_ratio_is_shown_with_its_spread():
    row = {
        "seconds": {n: {"median": 1e-3, "n": 1} for n in ("ours", "jax", "scipy")},
        "jax_over_ours": {"median": 2.0, "min": 1.0, "max": 3.0},
        "scipy_over_ours": {"median": 0.5, "min": 0.25, "max": 0.75},
    }
    cells = _transform_tables._dct_cells(row)
    assert cells == ["1.00", "1.00", "1.00", "2.0 (1.0–3.0)", "0.5 (0.2–0.8)"]
