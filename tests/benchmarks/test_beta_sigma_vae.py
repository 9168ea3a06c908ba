"""The benchmark of the beta-sigma VAE at tiny size, and its verdicts on known rows."""

import json
from functools import partial

import pytest

from benchmarks import _results, _vision_tables
from benchmarks import beta_sigma_vae as benchmark


def test_rows():
    rows = benchmark.measure("bs", 1, seeds=2, epochs=1)
    assert [row["seed"] for row in rows] == [0, 1]
    assert rows[0]["steps"] == 14
    assert rows[0]["bound"] != rows[1]["bound"]
    for row in rows:
        # With beta 1 two readings are at the same variance.
        assert row["bound_half"] == pytest.approx(row["bound_beta"])
        assert row["bound"] > row["bound_half"]
        assert row["frechet_distance"] > benchmark._real() > 0
        assert "beta     1" in benchmark.line(row)


def rows_with(bounds, growth=1.0):
    """Rows of one seed with these bounds by model and beta; other figures agree."""
    return [
        {
            "kind": "model",
            "model": model,
            "beta": beta,
            "seed": 0,
            "bound": bound,
            "bound_half": bound - 50,
            "bound_beta": bound - 20,
            "train_bound": bound,
            "mse": {"bs": 0.01, "constant": 0.01 * (1 + growth * beta)}[model],
            "rate": 1.0,
            "frechet_distance": 2.5,
        }
        for model, row in bounds.items()
        for beta, bound in zip(benchmark.BETAS, row, strict=True)
    ]


def test_verdicts_follow_the_rows():
    good = rows_with({"constant": (3, 4, 1, 0), "bs": (2, 5, 9, 0)})
    found = [v["holds"] for v in benchmark.verdicts(good)]
    # The error of "constant" grows from 1.1 to 2 times only.
    assert found == [True, True, True, True, True, False]
    # From 1.4 to 5 times is 3.6, from 1.2 to 3 is 2.5: doubled, not trebled.
    for growth, trebles in ((4.0, True), (2.0, False)):
        rows = rows_with({"constant": (3, 4, 1, 0), "bs": (2, 5, 9, 0)}, growth)
        assert benchmark.verdicts(rows)[-1]["holds"] is trebles
    bad = rows_with({"constant": (3, 4, 10, 0), "bs": (2, 9.5, 9, 0)})
    assert [v["holds"] for v in benchmark.verdicts(bad)][:3] == [False, False, False]


def test_recorded_rows_are_judged_again(tmp_path, monkeypatch, capsys):
    """Verdicts are renewed, rows and the machine they are of stay."""
    rows = rows_with({"constant": (3, 4, 1, 0), "bs": (2, 5, 9, 0)})
    _results.write("beta_sigma_vae", rows, claim="a claim", folder=tmp_path)
    path = tmp_path / "beta_sigma_vae.json"
    before = json.loads(path.read_text())
    before["environment"]["date"] = "1999-01-01"
    before["rows"].append(
        {"kind": "verdict", "what": "old", "figure": "", "holds": True}
    )
    path.write_text(json.dumps(before))
    monkeypatch.setattr(
        _results, "judge_again", partial(_results.judge_again, folder=tmp_path)
    )
    benchmark.main(["--judge"])
    assert "trebles: factor 1.82" in capsys.readouterr().out
    after = json.loads(path.read_text())
    assert after["environment"] == before["environment"]
    kinds = [row["kind"] for row in after["rows"]]
    assert after["rows"][: len(rows)] == rows
    assert kinds[len(rows) :] == ["verdict"] * 6
    assert after["rows"][-1]["holds"] is False
    path.unlink()
    with pytest.raises(ValueError, match="must hold rows, got no such file"):
        benchmark.main(["--judge"])


def test_tables():
    rows = rows_with({"constant": (3, 4, 1, 0), "bs": (2, 5, 9, 0)})
    verdicts = [{"kind": "verdict", **v} for v in benchmark.verdicts(rows)]
    here = {"cpu": "a CPU", "cores": 2, "jax": "1", "python": "3", "date": "today"}
    environment = {**here, "peers": {"scikit-learn": "2"}}
    real = {"kind": "real", "frechet_distance": 0.25}
    given = [*rows, real, *verdicts]
    results = {"beta_sigma_vae": {"rows": given, "environment": environment}}
    table = _vision_tables.beta_sigma_vae(results)
    assert "| optimal variance | 1 | 9.0 (9.0 to 9.0) | – | – |" in table
    assert "| constant variance | 0.1 | 4.0 (4.0 to 4.0) | -46.0 (" in table
    assert "| 2.50 (2.50 to 2.50) |" in table
    assert "that of the training images is 0.25." in table
    assert table.endswith("a CPU, 2 cores; JAX 1, scikit-learn 2, Python 3; today.")
    claims = _vision_tables.TABLES["beta_sigma_claims"](results)
    assert claims.count("| yes |") == 5
    assert claims.count("| no |") == 1
