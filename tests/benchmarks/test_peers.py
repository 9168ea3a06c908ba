"""The comparison with other libraries, with peers that cost nothing."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import peers
from benchmarks._peers import statement
from benchmarks._rows import Ledger


@pytest.mark.parametrize("name", peers.PROBLEMS)
def test_statement_is_that_of_the_problem(name, x64):
    stated, problem = statement.STATEMENTS[name], peers.problem(name)
    assert stated.intervals == problem.box.intervals
    points = stated.interior().astype(np.float64)[:50]
    expected = problem.exact[0](*points.T)
    np.testing.assert_allclose(stated.exact(points), expected, atol=1e-12)
    edge, values = stated.boundary()
    assert edge.shape == (len(stated.faces) * statement.FACE, 3)
    np.testing.assert_allclose(values[:, 0], stated.exact(edge), atol=2e-5)
    for face, (axis, end) in enumerate(stated.faces):
        own = edge[face * statement.FACE : (face + 1) * statement.FACE]
        assert (own[:, axis] == stated.intervals[axis][end]).all()
    faces = {
        (term.selectors.index(s), end)
        for term in problem.terms[1:]
        for s in set(term.selectors) - {"interior"}
        for end in {"lower": (0,), "upper": (1,), "ends": (0, 1)}[s]
    }
    assert faces == set(stated.faces)
    assert stated.error(lambda x: stated.exact(x)) < 1e-5
    assert stated.error(lambda x: 0 * x[:, 0]) == pytest.approx(1.0)


def fake(name: str, library: str, seconds: float):
    if library == "pina":
        return {"missing": "no such package"}
    return {
        "relative_l2": 0.5, "iterations": 100, "seconds": 2.0, "setup_seconds": 1.0,
        "version": "1",
    }  # fmt: skip


def test_rows_say_what_is_missing(tmp_path: Path, capsys):
    kept = Ledger(
        "peers", claim=peers.CLAIM, keys=peers.KEYS, notes=peers.NOTES, folder=tmp_path
    )
    libraries = ("pinns", "pina", "jinns")
    peers.measure(["helmholtz"], libraries, 2.0, kept, fake, fake)
    rows = json.loads((tmp_path / "peers.json").read_text())["rows"]
    assert [row["library"] for row in rows] == list(libraries)
    assert rows[0]["iterations_per_second"] == 50.0
    assert rows[1]["missing"] == "no such package"
    assert "relative_l2" not in rows[1]
    assert "pina              missing: no such package" in capsys.readouterr().out


def test_a_peer_that_cannot_be_installed_is_recorded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(peers, "requirements", lambda peer: ["./no_such_folder"])
    found = peers.theirs("helmholtz", "jinns", 1.0, tmp_path)
    assert set(found) == {"missing"}
    assert found["missing"]
    assert "/" not in found["missing"].replace("...", "")
    assert "jinns: installing" in capsys.readouterr().out


def test_a_script_that_fails_is_recorded(monkeypatch):
    monkeypatch.setattr(peers, "install", lambda peer, folder: Path(sys.executable))
    found = peers.theirs("no_such_problem", "deepxde", 1.0)
    assert "Error" in found["missing"]
    assert peers.parsed("text\n") == {"missing": "it printed no result"}
    assert peers.parsed('RESULT {"a": 1}\nbye\n') == {"a": 1}


def test_extras_name_every_peer():
    for peer in peers.PEERS:
        assert any(peer in r for r in peers.requirements(peer))
    assert "torch==2.13.0" in peers.requirements("pina")


@pytest.mark.parametrize("library", peers.OURS)
def test_ours(library, monkeypatch):
    monkeypatch.setattr(peers, "TEST_POINTS", 5)
    monkeypatch.setattr(peers, "HIDDEN", (4,))
    monkeypatch.setattr(peers, "INTERIOR", 16)
    found = peers.ours("klein_gordon", library, 0.01)
    assert found["iterations"] >= 1
    assert found["seconds"] > 0
    assert np.isfinite(found["relative_l2"])


def test_bad_options(capsys):
    with pytest.raises(SystemExit):
        peers.main(["--seconds", "0"])
    assert "--seconds must be positive, got 0" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        peers.main(["--peers", "modulus"])
    assert "invalid choice: 'modulus'" in capsys.readouterr().err
