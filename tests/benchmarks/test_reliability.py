import random
import shutil

import jax
import numpy as np
import pytest

from benchmarks import _training_overhead, _training_tables, reliability, tables


SIZE = 64


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    reliability.train(folder, size=SIZE, steps=6, every=3)
    return folder


def test_the_known_state_is_what_training_gives(trained):
    step, state = reliability.restore(trained, SIZE)
    assert step == 6
    assert reliability.right(state, 6, SIZE)
    assert not reliability.right(state, 5, SIZE)
    state["weights"] = np.asarray(state["weights"]) + np.float32(1e-7)
    assert not reliability.right(state, 6, SIZE)


def test_what_the_log_and_the_folder_say(trained, tmp_path):
    assert reliability.acknowledged(trained) == 6
    assert reliability.check_latest(trained) == (6, None)
    assert reliability.acknowledged(tmp_path) == 0
    assert reliability.check_latest(tmp_path) == (0, None)
    copy = shutil.copytree(trained, tmp_path / "run")
    (copy / "6" / "manifest.sha256").unlink()
    step, why = reliability.check_latest(copy)
    assert (step, why) == (6, "manifest.sha256 cannot be read")


@pytest.mark.parametrize("kind", reliability.KINDS)
def test_damage_changes_the_file(kind, tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(bytes(range(1, 200)))
    other.write_bytes(b"other")
    before = path.read_bytes()
    reliability.damage(path, kind, other, random.Random(1))
    if kind == "swapped files":
        assert (path.read_bytes(), other.read_bytes()) == (b"other", before)
    elif kind == "deletion":
        assert not path.exists()
    else:
        assert path.read_bytes() != before


def test_damages_are_counted_by_what_came_of_them(capsys):
    rows = reliability.damages(10, size=SIZE)
    assert [row["damage"] for row in rows] == list(reliability.KINDS)
    assert [row["trials"] for row in rows] == [2] * 5
    for row in rows:
        outcomes = ("fell_back", "harmless", "refused", "wrong_numbers")
        assert sum(row[name] for name in outcomes) == 2
        assert row["wrong_numbers"] == 0


def test_a_wrong_number_would_be_seen(trained, tmp_path, monkeypatch):
    copy = shutil.copytree(trained, tmp_path / "run")
    assert reliability._outcome(copy, SIZE) == "wrong"  # step 6 is none of 20 and 30
    state = {"weights": np.zeros(SIZE, np.float32), "count": 30}
    monkeypatch.setattr(reliability, "restore", lambda folder, size: (30, state))
    assert reliability._outcome(copy, SIZE) == "wrong"


def test_overhead_is_measured_on_equal_steps(monkeypatch):
    for name, value in {"WIDTH": 8, "STEPS": 12, "SETTLED": 4}.items():
        monkeypatch.setattr(_training_overhead, name, value)
    job, source = _training_overhead.task(1), _training_overhead.batches(8)
    key = jax.random.key(0)
    assert _training_overhead.bare(job, source, key)().wall > 0
    assert _training_overhead.ours(job, source, key, "none")().processor > 0


def summary(value):
    return {"median": value, "min": value, "max": value, "iqr": 0.01, "n": 9}


def test_tables():
    row = {"hardware": "some CPU"}
    results = {
        "reliability": {
            "environment": {"jax": "1", "numpy": "2", "python": "3", "date": "today"},
            "rows": [
                {**row, "kind": "kills", "kills": 7, "inside_a_write": 3,
                 "acknowledged_steps_lost": 0, "unreadable_latest": 1,
                 "wrong_values": 2, "state_bytes": 4_000_000},
                {**row, "kind": "signals", "signals": 5, "saved_and_exit_0": 4,
                 "in_the_first_call": 1},
                {**row, "kind": "damages", "damage": "deletion", "trials": 9,
                 "fell_back": 6, "harmless": 2, "refused": 1, "wrong_numbers": 0,
                 "files": 12},
            ],
        },
        "training_overhead": {
            "environment": {"jax": "1", "numpy": "2", "python": "3", "date": "today"},
            "rows": [
                *(
                    {**row, "kind": "overhead", "devices": n, "parallel": "none",
                     "bare_seconds": summary(0.005), "fit_seconds": summary(0.0051),
                     "overhead": summary(0.02),
                     "processor_overhead": summary(0.03)}
                    for n in (1, 2)
                ),
            ],
        }
    }  # fmt: skip
    text = _training_tables.reliability(results)
    assert (
        "| 7 | 3 inside a write | 0 acknowledged steps lost, 1 unreadable, 2 w" in text
    )
    assert "4 saved the last step and exited with 0" in text
    assert "6 fell back a step, 2 harmless, 1 refused | 0 wrong numbers" in text
    for name, devices in (("training_overhead", 1), ("training_scaling", 2)):
        text = tables.TABLES[name](results)
        assert f"| {devices} | none | 5.00 | 5.10 | 2.0 (± 0.5) | 3.0 (± 0.5) |" in text
        assert "some CPU; JAX 1" in text
    results["reliability"]["rows"] = results["reliability"]["rows"][:1]
    with pytest.raises(ValueError, match="no rows of kind `signals`"):
        _training_tables.reliability(results)
