import json

import jax
import jax.numpy as jnp
import pytest

from benchmarks import _results, _sphere_tables, gaunt


@pytest.mark.slow
# e3nn-jax uses names that JAX is about to drop.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_quick_runs_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gaunt, "QUICK_DEGREES", (1,))
    with jax.numpy_rank_promotion("allow"):  # e3nn-jax relies on it
        rows = gaunt.main(["--quick", "--repeats", "1"], tmp_path)
    assert not list(tmp_path.iterdir())
    names = ["auto", "grid", "dense", "fourier", "e3nn_grid", "e3nn_grid_fft"]
    for i, direction in enumerate(("forward", "gradient")):
        part = rows[7 * i : 7 * i + 7]
        assert [row["method"] for row in part] == [*names, "e3nn_paths"]
        assert {row["direction"] for row in part} == {direction}
        assert part[0]["ratio"]["median"] == 1
        assert all(row["seconds"]["n"] == 1 for row in part)
    assert "x1.00 auto" in capsys.readouterr().out


def test_another_product_is_refused():
    x = jnp.ones((2, 4))
    found = {"grid": lambda x, y: x, "dense": lambda x, y: x, "e3nn_paths": None}
    gaunt.check(1, found, x, x)
    found["dense"] = lambda x, y: 1.01 * x
    with pytest.raises(RuntimeError, match=r"dense differs by 1\.0e-02 at degree 1"):
        gaunt.check(1, found, x, x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--degrees", "-1"], "degrees must be 0 or more and repeats 1 or more"),
        (["--repeats", "0"], "degrees must be 0 or more and repeats 1 or more"),
        (["--quick", "--write"], "--quick never writes"),
    ],
)
def test_bad_options(arguments, message, capsys):
    with pytest.raises(SystemExit):
        gaunt.main(arguments)
    assert message in capsys.readouterr().err


def test_everything_is_written_and_a_subset_only_when_asked(tmp_path, monkeypatch):
    here = _results.environment()
    monkeypatch.setattr(_results, "environment", lambda peers=(): here)
    monkeypatch.setattr(gaunt, "describe", str)
    path, seconds = tmp_path / "gaunt.json", iter(range(99))

    def measure(degree, *rest):
        return [
            {"degree": degree, "method": "auto", "direction": d, "calls": next(seconds)}
            for d in ("forward", "gradient")
        ]

    def kept():
        return [row["calls"] for row in json.loads(path.read_text())["rows"]]

    monkeypatch.setattr(gaunt, "measure", measure)
    gaunt.main(["--degrees", "3"], tmp_path)
    assert not path.exists()
    gaunt.main(["--degrees", "3", "--write"], tmp_path)
    assert kept() == [2, 3]
    gaunt.main([], tmp_path)
    assert kept() == list(range(4, 24))
    gaunt.main(["--degrees", "1", "--write"], tmp_path)
    assert kept() == [24, 25, *range(6, 24)]


def results():
    times = {
        "auto": 1.0, "grid": 1.5, "dense": 1.1, "fourier": 12.0,
        "e3nn_grid": 3.0, "e3nn_grid_fft": 2.0, "e3nn_paths": 20.0,
    }  # fmt: skip
    rows = [
        {
            "degree": degree, "method": name, "direction": direction,
            "batch": [4, 2], "hardware": "Abacus, 2 cores", "e3nn_jax": "0",
            "date": "today",
            "seconds": {"median": time * degree / 1000, "n": 7},
            "ratio": {"median": time + degree, "min": 0.5, "max": 99.0},
        }
        for degree in (3, 4)
        for direction in ("forward", "gradient")
        for name, time in times.items()
        if degree == 3 or name != "dense"
    ]  # fmt: skip
    here = {"jax": "1", "python": "3"}
    return {"gaunt": {"rows": rows, "environment": here}}


def test_tables():
    lines = _sphere_tables.gaunt(results()).splitlines()
    assert lines[2] == (
        "| 3 | forward | 3.00 | 4.1 (0.5–99) | 4.5 (0.5–99) | 15 (0.5–99) "
        "| 5 (0.5–99) | 23 (0.5–99) |"
    )
    assert lines[4].startswith("| 4 | forward | 4.00 | – | 5.5 ")
    assert "4 x 2 coefficient vectors" in lines[-1]
    assert lines[-1].endswith("Abacus, 2 cores; JAX 1, e3nn-jax 0, Python 3; today.")
    goals = _sphere_tables.goals(results()).splitlines()
    assert goals[2].endswith("| 4.1 (L = 3) | 4.1 (L = 3) |")
    assert goals[3].endswith("| 16 (L = 4) | 16 (L = 4) |")
    assert goals[4].endswith("| 23 (L = 3) | 23 (L = 3) |")
    assert goals[5].endswith("| 5 (L = 3) | 5 (L = 3) |")
