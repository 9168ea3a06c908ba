import json

import pytest

from benchmarks import _inverse_tables, inverse


@pytest.mark.slow
def test_a_row_says_what_was_recovered(tmp_path, capsys):
    """A short run of the smallest case: written, shown and drawn."""
    case = inverse.CASES[0]._replace(measurements=40, rank=2, hidden=6)
    kept = inverse.ledger(tmp_path)
    for row in inverse.measure(case, 0.05, 1, 25):
        kept.put(row)
    found = json.loads((tmp_path / "inverse.json").read_text("utf-8"))
    (row,) = found["rows"]
    assert (row["case"], row["unknown"], row["noise"]) == ("diffusion", "k", 0.05)
    assert row["relative_error"]["median"] == row["errors"][0] < 0.2
    assert 0.0 < row["standard_error"]["median"] < 0.2
    assert row["covered"] == int(row["errors"][0] <= 2 * row["standard_errors"][0])
    assert "standard error" in inverse.describe(row)
    text = _inverse_tables.inverse({"inverse": found})
    assert "| `unknown_diffusion` | k (number) | 5% |" in text
    assert "1 seeds" in text
    picture = _inverse_tables.draw([row], tmp_path / "inverse.png")
    assert picture.stat().st_size > 5_000
