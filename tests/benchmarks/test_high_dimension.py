import json

import pytest

from benchmarks import high_dimension


def test_quick_rows_are_measured_and_not_written(tmp_path, capsys):
    (row,) = high_dimension.main(["--quick", "--only", "5-tt"], tmp_path)
    assert row["seeds"] == 2
    assert row["relative_l2"]["max"] < 1e-3
    parts = row["plan_seconds"] + row["setup_seconds"] + row["solve_seconds"]["max"]
    assert row["total_seconds"] == pytest.approx(parts)
    assert not list(tmp_path.iterdir())
    assert "5-tt" in capsys.readouterr().out


def test_one_row_is_renewed_and_the_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(
        high_dimension,
        "measure",
        lambda case, seeds, sweeps: {
            "case": case.name, "method": "", "relative_l2": {"median": 1.0, "max": 2.0},
            "total_seconds": 0.0, "value": seeds,
        },
    )  # fmt: skip
    high_dimension.main(["--only", "20-cp"], tmp_path)
    high_dimension.main(["--only", "5-tt", "100-cp"], tmp_path)
    saved = json.loads((tmp_path / "high_dimension.json").read_text("utf-8"))
    assert [row["case"] for row in saved["rows"]] == ["5-tt", "20-cp", "100-cp"]
    assert {row["value"] for row in saved["rows"]} == {high_dimension.SEEDS}


def test_unknown_rows_are_refused(capsys):
    with pytest.raises(SystemExit):
        high_dimension.main(["--only", "7-cp"])
    assert "invalid choice" in capsys.readouterr().err
