"""Windows in time, layers and bases by axis from the command line."""

import json

import pytest

from pinns.cli import main


BURGERS = ["solve", "burgers1d", "-p", "viscosity=0.1", "--method", "newton"]
WINDOWS = [*BURGERS, "--windows", "2", "--size", "8", "20"]


def run(capsys, *argv):
    capsys.readouterr()
    code = main([*argv, "--no-progress"])
    return (code, *capsys.readouterr())


def test_a_march_is_reported(capsys):
    code, out, err = run(capsys, *WINDOWS, "--cluster", "x=0,0.2", "--json")
    assert (code, err) == (0, "")
    rows = dict(line.split("  ", 1) for line in out.splitlines() if "  " in line)
    assert rows["windows"].strip() == "2"
    assert rows["result"].strip() == "converged"
    record = json.loads(out.splitlines()[-1])
    assert record["edges"] == [0.0, 0.5, 1.0]
    assert record["points"] == [8, 20]
    assert float(rows["relative L2 error"]) == pytest.approx(
        record["relative_l2"], rel=1e-2
    )
    assert record["relative_l2"] < 1e-3


def test_no_convergence_is_said(capsys):
    code, out, err = run(capsys, *BURGERS[:2], *BURGERS[4:], "--size", "5", "8")
    assert code == 1
    assert "not_converged: the residual does not fall" in out
    assert err.startswith("error: pinns.solve: method='newton' did not converge on")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--windows", "0"], "`windows` must be a positive integer, got 0"),
        (["--windows", "2", "--out", "x"], "`--windows` has no `--out`"),
        (["--cluster", "x=0"], "`--cluster` must be AXIS=CENTER,WIDTH, got 'x=0'"),
        (["--cluster", "0,1"], "`--cluster` must be AXIS=CENTER,WIDTH, once for each"),
        (["--cluster", "x=0,1", "x=0,2"], "once for each axis, got 'x=0,1 x=0,2'"),
        (["--basis", "x=fourier"], "got no pinns.Periodic on x"),
        (["--basis", "x=fourier", "t"], "`--basis` must be AXIS=NAME, once for each"),
    ],
)
def test_wrong_options_are_refused(argv, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *BURGERS, *argv)
    assert code == 2
    assert message in err
    assert not list(tmp_path.iterdir())
