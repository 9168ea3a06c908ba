"""Eight devices, and two processes of two devices: in processes of their own."""

import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.jaxcore.training import _toy


ROOT = Path(__file__).resolve().parents[3]
WORKER = Path(__file__).with_name("_toy.py")
CASES = [
    {"optimizer": "sgd"},
    {"optimizer": "adam", "accumulate": 2, "last": "drop"},
    {"optimizer": "sgd", "accumulate": 2, "dtype": "float64"},
]
BOTH = list(itertools.product(("pmap", "sharded"), CASES))


def start(job: dict, devices: int) -> subprocess.Popen:
    flag = "--xla_force_host_platform_device_count"
    environment = {
        **os.environ,
        "XLA_FLAGS": f"{flag}={devices}",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        [sys.executable, str(WORKER), json.dumps(job)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes: subprocess.Popen) -> None:
    try:
        for process in processes:
            output, _ = process.communicate(timeout=240)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def one_device():
    return [_toy.run(case) for case in CASES]


def compare(file: Path, one_device: list[dict]) -> None:
    with np.load(file, allow_pickle=False) as arrays:
        for number, (_, case) in enumerate(BOTH):
            expected = one_device[CASES.index(case)]
            leaves, structure = jax.tree.flatten(expected)
            found = [arrays[f"{number}/{i}"] for i in range(len(leaves))]
            found = jax.tree.unflatten(structure, found)
            tight = 1e-12 if case.get("dtype") == "float64" else 1e-6
            assert _toy.relative(found["gradient"], expected["gradient"]) < tight
            np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-4)
            assert _toy.relative(found["state"], expected["state"]) < 1e-4


def test_eight_devices(tmp_path, one_device):
    file = tmp_path / "eight.npz"
    finish(start({"cases": BOTH, "file": str(file)}, devices=8))
    compare(file, one_device)


@pytest.mark.slow
def test_two_processes_of_two_devices(tmp_path, one_device):
    address = f"127.0.0.1:{free_port()}"
    folder = tmp_path / "run"
    jobs = [
        {
            "cases": BOTH,
            "file": str(tmp_path / f"{process}.npz"),
            "address": address,
            "process": process,
            "folder": str(folder),
        }
        for process in range(2)
    ]
    finish(*(start(job, devices=2) for job in jobs))
    compare(tmp_path / "0.npz", one_device)
    compare(tmp_path / "1.npz", one_device)
    check_run(
        folder, [json.loads((folder / f"read{i}.json").read_text()) for i in (0, 1)]
    )


def check_run(folder: Path, read: list) -> None:
    """Each process read its rows; one log was written; its checkpoint restores here."""
    global_rows = [
        _toy.batches().indices(step).tolist() for step in range(len(read[0]))
    ]
    for step, rows in enumerate(global_rows):
        valid = [i for i in rows if i >= 0]
        assert read[0][step] == rows[:8]
        assert [i for i in read[1][step] if i >= 0] == valid[8:]
    lines = [
        json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()
    ]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == list(range(1, 13))  # each once: a single process writes
    resumed = _toy.run({"optimizer": "adam"}, steps=20, checkpoint=str(folder))
    whole = _toy.run({"optimizer": "adam"}, steps=20)
    assert len(resumed["loss"]) == 8
    np.testing.assert_allclose(resumed["loss"], whole["loss"][12:], rtol=1e-4)
    assert _toy.relative(resumed["state"], whole["state"]) < 1e-5
