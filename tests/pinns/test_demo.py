"""The demonstration at a tiny budget."""

import dataclasses

import pytest

from pinns import demo


@pytest.mark.slow
def test_demo_prints_a_table_and_draws(capsys, monkeypatch, tmp_path):
    small = {"points": (4, 4, 4), "model": {"hidden": (4,)}}
    cases = [dataclasses.replace(case, **small) for case in demo.CASES]
    monkeypatch.setattr(demo, "CASES", cases)
    monkeypatch.setattr(demo, "FRAMES", 2)
    folder = tmp_path / "pictures"
    argv = ["--seconds", "0.001", "--models", "cp", "--out", str(folder)]
    assert demo.main(argv) == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = [line.split() for line in out.splitlines() if "  cp  " in line]
    assert [row[0] for row in rows] == ["klein_gordon", "helmholtz3d"]
    # problem, model, parameters, steps, error, steps/s, seconds, compile seconds
    assert all(len(row) == 8 and float(row[4]) > 0.01 for row in rows)
    drawn = [line.strip() for line in out.partition("Drawn")[2].splitlines()[1:]]
    names = [
        "klein_gordon.png", "klein_gordon_history.png", "klein_gordon.gif",
        "helmholtz3d.png", "helmholtz3d_history.png",
    ]  # fmt: skip
    assert drawn == [str(folder / name) for name in names]
    assert all((folder / name).stat().st_size > 1000 for name in names)


def test_every_case_has_a_rank_for_every_model():
    for case in demo.CASES:
        assert set(case.ranks) == set(demo.MODELS)


def test_demo_explains_its_options(capsys):
    assert demo.main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in ("--seconds", "--models", "--out"):
        assert name in out
    assert out.count("(default:") == 3


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--models", "x"], "pinns.demo: `--models` must be among cp, tt, tucker, got"),
        (["--models"], "pinns.demo: `--models` must be among cp, tt, tucker, got"),
        (["--seconds", "0"], "`seconds` must be a positive number, got 0"),
        (["--nope"], "Unrecognized options: --nope; see python -m pinns.demo --help"),
    ],
)
def test_bad_input_is_one_line_and_code_2(argv, message, capsys, tmp_path):
    assert demo.main([*argv, "--out", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_interrupt(capsys, monkeypatch):
    def solve(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "solve", solve)
    assert demo.main([]) == 130
    assert capsys.readouterr().err == "interrupted\n"
