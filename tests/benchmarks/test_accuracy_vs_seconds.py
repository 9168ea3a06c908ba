from pathlib import Path

import numpy as np
import pytest

from benchmarks import _results, spinn_reference
from benchmarks import accuracy_vs_seconds as accuracy
from benchmarks._accuracy_picture import COLORS, draw


def test_every_problem_has_the_peers_and_five_seeds_in_twenty_minutes():
    for problem in accuracy.PROBLEMS:
        own = {m.method: m for m in accuracy.METHODS if m.problem == problem}
        assert {"spinn", "classical", "adam", "lbfgs", "ssbroyden"} <= set(own)
        assert set(own) <= set(COLORS)
        # Those without randomness, and without a goal on their seconds, run once.
        once = {name for name, method in own.items() if method.seeds < 5}
        assert once <= {"classical", "direct"}
        # SPINN's recipe gets the same seconds as what stands beside it.
        assert own["spinn"].limit == own["ssbroyden"].limit
    assert 10.0 < accuracy.minutes(accuracy.plan(accuracy.parse([]))) < 20.0


def test_the_list_says_how_long_it_takes(capsys):
    assert accuracy.main(["--list", "--only", "klein_gordon:ssbroyden"]) == []
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "klein_gordon SSBroyden 0"
    assert out[-1] == "about 2 minutes on two quiet cores"


def test_plan_takes_first_seeds_first():
    options = accuracy.parse(["--only", "poisson:ssbroyden", "poisson:classical"])
    found = [(m.method, seed) for m, seed in accuracy.plan(options)]
    assert sorted(found[:2]) == [("classical", 0), ("ssbroyden", 0)]
    assert found[2:] == [("ssbroyden", seed) for seed in range(1, 5)]
    options = accuracy.parse(["--seeds", "1"])
    assert len(accuracy.plan(options)) == len(accuracy.METHODS)


@pytest.mark.parametrize("arguments", [["--only", "stokes"], ["--seconds", "0"]])
def test_bad_options_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        accuracy.parse(arguments)
    assert arguments[-1] in capsys.readouterr().err


def test_a_run_is_kept_drawn_and_not_repeated(tmp_path: Path, capsys):
    arguments = ["--only", "klein_gordon:classical"]
    picture = tmp_path / "images" / "picture.png"
    (row,) = accuracy.main(arguments, tmp_path, picture)
    assert row["relative_l2"] < 1e-12
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "accuracy_vs_seconds.json").is_file()
    assert accuracy.main(arguments, tmp_path, picture) == []


def test_spinns_form_is_timed_along_its_training(monkeypatch):
    monkeypatch.setattr(accuracy, "SPINN_POINTS", {"helmholtz": 4})
    monkeypatch.setattr(accuracy, "TEST_POINTS", {"helmholtz": 5})
    method = next(
        m for m in accuracy.METHODS if (m.problem, m.method) == ("helmholtz", "spinn")
    )
    row = accuracy.run(method, 0, 0.05)
    seconds = [pair[0] for pair in row["curve"]]
    assert seconds == sorted(seconds)
    assert seconds[-1] == row["seconds"] >= 0.05
    assert row["steps"] >= 5


def test_the_error_of_spinns_form_is_that_of_its_values(monkeypatch):
    # Twice the exact solution is wrong by 100 percent.
    def apply(model, params, x, y, z):
        x, y, z = (np.asarray(c) * np.pi for c in (x, y, z))
        waves = np.sin(4 * x), np.sin(4 * y), np.sin(3 * z)
        return 2 * waves[0][:, None, None] * waves[1][:, None] * waves[2]

    monkeypatch.setattr(spinn_reference, "apply", apply)
    assert accuracy._spinn_error("helmholtz", None, 12) == pytest.approx(1.0, rel=1e-4)


def test_the_initial_velocity_of_the_peer_is_that_of_the_problem(monkeypatch):
    def apply(model, rate, t, x, y):
        return rate * t[:, None, None] * x[None, :, None] * y[None, None, :]

    monkeypatch.setattr(spinn_reference, "apply", apply)
    x = np.linspace(-1, 1, 5, dtype="float32")
    assert float(accuracy._velocity_misfit(2.0, (x, x, x))) == 0.0
    found = float(accuracy._velocity_misfit(3.0, (x, x, x)))
    assert found == pytest.approx(np.mean(np.outer(x, x) ** 2), rel=1e-5)


def test_a_picture_needs_no_run(tmp_path: Path):
    assert draw([], tmp_path / "empty.png").stat().st_size > 0
    assert _results.ROOT in accuracy.PICTURE.parents
