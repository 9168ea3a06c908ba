"""Records and tables, where a run of the command line does not reach them."""

import sys

import jax
import numpy as np
import pytest

from pinns import CP, problems, report, solve
from pinns.solution import Solution


@pytest.fixture(scope="module")
def solution() -> Solution:
    return solve(
        problems.wave1d(), CP(2, hidden=(4,)), points=3, steps=1, key=jax.random.key(0),
        sampling={"t": "uniform", "x": "chebyshev"},
    )  # fmt: skip


def test_records_of_several_unknowns_are_mappings():
    assert report.single({"u": 0.5, "v": np.inf}) == {"u": 0.5, "v": None}
    assert report.single({"u": 0.5}) == 0.5
    assert report.single(None) is None
    rows = report.error_rows("error", {"u": 0.5, "v": 2.0})
    assert rows == [("error of u", "5.00e-01"), ("error of v", "2.00e+00")]


def test_seeds_of_keys_that_are_no_seeds():
    words = jax.random.key_data(jax.random.split(jax.random.key(0))[0])
    assert report.seed({"key": words, "key_impl": "threefry2x32"}) is None
    assert report.seed({"key": [0, 0, 0, 1], "key_impl": "rbg"}) is None
    assert report.seed({"key": [0, 2**32 - 1], "key_impl": "threefry2x32"}) == 2**32 - 1


def test_samplings_that_differ_are_named(solution):
    assert dict(report.setting_rows(solution))["sampling"] == "t: uniform, x: chebyshev"


def test_peak_memory_is_that_of_this_process(monkeypatch, tmp_path):
    status = tmp_path / "status"
    status.write_text("VmPeak:\t  90000 kB\nVmHWM:\t   2000 kB\n")
    monkeypatch.setattr(report, "STATUS", status)
    assert report.peak_memory_mb() == 2.048
    status.write_text("Name:\tpython\n")
    assert report.peak_memory_mb() > 50


def test_peak_memory_where_the_system_does_not_tell(monkeypatch, solution, tmp_path):
    monkeypatch.setattr(report, "resource", None)
    monkeypatch.setattr(report, "STATUS", tmp_path / "none")
    assert report.peak_memory_mb() is None
    rows = report.result_rows(solution, None, None)
    assert "peak memory" not in dict(rows)


def test_missing_library_has_no_version(monkeypatch):
    monkeypatch.setattr(report, "LIBRARIES", ("no-such-library",))
    assert report.versions()["no-such-library"] == "not installed"


def test_numbers_do_not_wrap_in_pipes(capsys):
    report.print_table(("a", "b"), [("x" * 200, "1.0")], right=(1,))
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["a" + " " * 203 + "b", "x" * 200 + "  1.0"]


def test_tables_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    report.print_table(("a", "b"), [("[red]1[/red]", 2)])
    assert "[red]1[/red]" in capsys.readouterr().out  # data is no markup
