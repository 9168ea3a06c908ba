"""Nothing is lost: kills, damaged files, signals; and what the training loop costs.

    python -m benchmarks.reliability            # a small campaign, a minute or two
    python -m benchmarks.reliability --write    # the full one; writes its results

The state after step `s` is a known function of `s`, so that any state that comes back
from a disk can be compared with the truth, number by number.

- kills: one run after the other continues from the same folder and is ended by SIGKILL
  at a random time while it saves all the time. Afterwards the newest checkpoint must be
  good, right, and no older than the last one that the log acknowledged.
- damages: a random change of a random file of the newest checkpoint. Reading must give
  the right numbers, of this step or of the one before, or an error.
- signals: SIGTERM at a random time, compilation included. Exit code 0, and a checkpoint
  of the very last step.
- overhead: `fit` against a bare loop over the jitted step, in turns, on 1 to 8 devices.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._rows import Ledger, Row, hardware
from jaxcore import training
from jaxcore.training import _integrity
from jaxcore.training._arguments import check, identity
from jaxcore.training.checkpoint import TEMPORARY, Store
from jaxcore.training.parallel import Layout


FULL = {"kills": 200, "damages": 300, "signals": 20}
SMALL = {"kills": 10, "damages": 40, "signals": 4}
DEVICES = (1, 2, 4, 8)
KEY = 11
CLAIM = (
    "No acknowledged step is lost to kill -9, no wrong number comes from a damaged "
    "checkpoint, SIGTERM always ends with a checkpoint"
)
OVERHEAD_CLAIM = "`fit` costs at most 3 % of a bare loop for steps of 5 ms or more"


def value(step: Any, size: int) -> jax.Array:
    """Returns the weights after a step: random numbers that depend on it alone."""
    return jax.random.normal(jax.random.fold_in(jax.random.key(KEY), step), (size,))


def known_task(size: int) -> training.Task:
    """Returns a task whose state is a known function of the step."""

    def init(key):
        return {"weights": value(0, size), "count": jnp.int32(0)}

    def step(state, batch, key):
        count = state["count"] + 1
        weights = value(count, size)
        return {"weights": weights, "count": count}, {"mean": jnp.mean(weights)}

    return training.Task(init, step)


def train(folder: Path, *, size: int, steps: int, every: int) -> training.Result:
    """Trains the known task with checkpoints."""
    return training.fit(
        known_task(size),
        None,
        steps,
        key=jax.random.key(KEY),
        checkpoint=training.Checkpoint(folder, every=every, keep_last=3),
        log=training.Log(folder, every=every, bar=False),
        chunk=every,
    )


def child(function: Callable[[], Any]) -> int:
    """Returns the process id of a fork that runs the function and exits as it says.

    This process has imported everything and computed nothing, so a fork is cheap and
    has no threads of JAX's.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        function()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        os._exit(code)


def check_latest(folder: Path) -> tuple[int, str | None]:
    """Returns the newest step, and what is wrong with its checkpoint, if anything."""
    steps = [int(p.name) for p in folder.iterdir() if p.name.isdigit()]
    if not steps:
        return 0, None
    try:
        _integrity.verify(folder / str(max(steps)))
    except _integrity.Damage as damage:
        return max(steps), str(damage)
    return max(steps), None


def acknowledged(folder: Path) -> int:
    """Returns the newest step that the log says is saved."""
    try:
        rows = training.read_log(folder)
    except ValueError:
        return 0
    return max((r["saved"] for r in rows if r.get("event") == "checkpoint"), default=0)


def kills(count: int, seed: int = 0, size: int = 2**21) -> Row:
    """Kills a run that saves all the time; each run continues from the one before."""
    draw = random.Random(seed)
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        for i in range(count):
            pid = child(partial(train, folder, size=size, steps=10**9, every=1))
            _wait_for_start(folder, i)
            time.sleep(draw.uniform(0.0, 1.5))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            saved = acknowledged(folder)
            latest, wrong = check_latest(folder)
            found["inside_a_write"] += any(folder.glob(f"*{TEMPORARY}*"))
            found["lost"] += latest < saved
            found["unreadable"] += wrong is not None
            found["wrong_values"] += _restored_in_child(folder, size, latest)
            print(f"\rkill {i + 1}/{count}: {dict(found)}", end="", flush=True)
    print()
    return {
        "kind": "kills",
        "kills": count,
        "inside_a_write": found["inside_a_write"],
        "acknowledged_steps_lost": found["lost"],
        "unreadable_latest": found["unreadable"],
        "wrong_values": found["wrong_values"],
        "state_bytes": 4 * size + 4,
        "seed": seed,
    }


def _wait_for_start(folder: Path, before: int) -> None:
    deadline = time.monotonic() + 120
    log = folder / "log.jsonl"
    while time.monotonic() < deadline:
        if log.is_file() and log.read_text().count('"event": "start"') > before:
            return
        time.sleep(0.005)
    raise TimeoutError(f"the run in {folder} did not start")


def _restored_in_child(folder: Path, size: int, latest: int) -> bool:
    """Returns whether what comes back is not the state of the newest step.

    On a copy: opening the folder also tidies it up, which is for the next run to do.
    """

    def compare() -> None:
        with tempfile.TemporaryDirectory() as name:
            copy = Path(shutil.copytree(folder, Path(name) / "run"))
            step, state = restore(copy, size)
            if step != latest or not right(state, step, size):
                sys.exit(3)

    _, status = os.waitpid(child(compare), 0)
    return os.waitstatus_to_exitcode(status) != 0


def restore(folder: Path, size: int) -> tuple[int, Any]:
    """Returns step and state as `fit` resumes from them; compiles nothing."""
    state = jax.eval_shape(known_task(size).init, jax.random.key(0))
    key = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
    like = {"state": state, "ema": None, "key": key}
    like["step"] = jax.ShapeDtypeStruct((), jnp.int32)
    settings = training.Checkpoint(folder)
    options = check(
        None, 1, jax.random.key(KEY), "none", 1, "float32", None, settings, None,
        None, None, "stop", "raise", None, 0, None, known_task(size),
    )  # fmt: skip
    store = Store(settings, Layout("none", None), identity(options))
    try:
        found = store.open(like)
    finally:
        store.close()
    if found is None:
        return 0, {"weights": _value(0, size), "count": 0}
    return found[0], found[1]["state"]


def right(state: Any, step: int, size: int) -> bool:
    """Returns whether a state is that after the given step, to the bit."""
    same = np.array_equal(np.asarray(state["weights"]), np.asarray(_value(step, size)))
    return same and int(state["count"]) == step


_value = jax.jit(value, static_argnums=1)


def damage(path: Path, kind: str, other: Path, draw: random.Random) -> None:
    """Changes one file: a bit, its length, a page, its existence, or its place."""
    data = bytearray(path.read_bytes())
    if kind == "bit flip" and data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif kind == "truncation":
        del data[draw.randrange(len(data) + 1) :]
    elif kind == "zeroed page":
        start = draw.randrange(len(data) + 1) // 4096 * 4096
        data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    elif kind == "deletion":
        path.unlink()
        return
    elif kind == "swapped files":
        data, theirs = bytearray(other.read_bytes()), bytes(data)
        other.write_bytes(theirs)
    path.write_bytes(data)


KINDS = ("bit flip", "truncation", "zeroed page", "deletion", "swapped files")


def damages(count: int, seed: int = 0, size: int = 2**14) -> list[Row]:
    """Damages files of the newest checkpoint and reads it back through the store."""
    draw = random.Random(seed)
    rows = {kind: Counter[str]() for kind in KINDS}
    with tempfile.TemporaryDirectory() as name:
        base = Path(name) / "base"
        train(base, size=size, steps=30, every=10)
        names = sorted(
            p.relative_to(base / "30") for p in (base / "30").rglob("*") if p.is_file()
        )
        for i in range(count):
            kind = KINDS[i % len(KINDS)]
            path = names[(i // len(KINDS)) % len(names)]
            folder = Path(shutil.copytree(base, Path(name) / "copy"))
            others = [p for p in (folder / "30").rglob("*") if p.is_file()]
            others = [p for p in others if p != folder / "30" / path]
            damage(folder / "30" / path, kind, draw.choice(others), draw)
            rows[kind][_outcome(folder, size)] += 1
            shutil.rmtree(folder)
    found = []
    for kind, outcomes in rows.items():
        done = sum(outcomes.values())
        print(f"{kind:15s} {done:4d}  {dict(outcomes)}")
        found.append(
            {
                "kind": "damages",
                "damage": kind,
                "trials": done,
                "fell_back": outcomes["fell back"],
                "harmless": outcomes["harmless"],
                "refused": outcomes["refused"],
                "wrong_numbers": outcomes["wrong"],
                "files": len(names),
                "seed": seed,
            }
        )
    return found


def _outcome(folder: Path, size: int) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            step, state = restore(folder, size)
        except training.CheckpointError:
            return "refused"
    if not right(state, step, size):
        return "wrong"
    return {30: "harmless", 20: "fell back"}.get(step, "wrong")


def signals(count: int, seed: int = 0, size: int = 2**18) -> Row:
    """Sends SIGTERM at random times and looks at how the process ended."""
    draw = random.Random(seed)
    good, codes, compiling = 0, Counter[int](), 0
    with tempfile.TemporaryDirectory() as name:
        for i in range(count):
            folder = Path(name) / str(i)
            pid = child(partial(train, folder, size=size, steps=10**9, every=5))
            _wait_for_start(folder, 0)
            time.sleep(draw.uniform(0.0, 0.8))
            os.kill(pid, signal.SIGTERM)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            codes[code] += 1
            latest, wrong = check_latest(folder)
            end = training.read_log(folder)[-1]
            compiling += latest <= 5
            good += (
                code == 0
                and wrong is None
                and end.get("event") == "end"
                and end["step"] == latest
                and not _restored_in_child(folder, size, latest)
            )
    print(f"SIGTERM: {good} of {count} good, codes {dict(codes)}")
    return {
        "kind": "signals",
        "signals": count,
        "saved_and_exit_0": good,
        "in_the_first_call": compiling,
        "seed": seed,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the campaign."""
    parser = argparse.ArgumentParser(prog="benchmarks.reliability")
    parser.add_argument("--write", action="store_true", help="full, and keep the rows")
    parser.add_argument("--only", choices=(*FULL, "overhead"))
    options = parser.parse_args(arguments)
    counts = FULL if options.write else SMALL
    chosen = [options.only] if options.only else [*FULL, "overhead"]
    rows: list[Row] = []
    # Forks first: they need a process that has not computed anything yet.
    if "kills" in chosen:
        rows.append(kills(counts["kills"]))
    if "signals" in chosen:
        rows.append(signals(counts["signals"]))
    if "damages" in chosen:
        rows += damages(counts["damages"])
    if "overhead" in chosen:
        rows += overhead(9 if options.write else 3)
    if not options.write:
        return
    ledgers = {
        "reliability": Ledger(
            "reliability", claim=CLAIM, keys=("kind", "damage"), notes=NOTES
        ),
        "overhead": Ledger(
            "training_overhead",
            claim=OVERHEAD_CLAIM,
            keys=("devices", "parallel", "rounds"),
            notes=OVERHEAD_NOTES,
        ),
    }
    for row in rows:
        name = "overhead" if row["kind"] == "overhead" else "reliability"
        ledgers[name].put({**row, "hardware": hardware()})


NOTES = [
    "kills: SIGKILL up to 1.5 s after the loop began; inside_a_write: Orbax's "
    "temporary folder was there afterwards",
    "damages: of every file of the newest checkpoint in turn; harmless: the file does "
    "not hold numbers or did not change; refused: an error instead of numbers",
]
OVERHEAD_NOTES = [
    "overhead: time per step of `fit` over that of a bare loop of the jitted step with "
    "donated state and batches already on the devices, in turns; host devices share "
    "the CPU's cores, so more of them are not faster",
]


def overhead(repeats: int) -> list[Row]:
    """Measures every number of devices in a process of its own."""
    rows: list[Row] = []
    for devices in DEVICES:
        flag = f"--xla_force_host_platform_device_count={devices}"
        command = [sys.executable, "-m", "benchmarks._training_overhead"]
        done = subprocess.run(
            [*command, str(devices), str(repeats)],
            env={**os.environ, "XLA_FLAGS": flag},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        for line in done.stdout.splitlines():
            row = json.loads(line)
            print(
                f"{row['devices']} {row['parallel']:8s} "
                f"{1e3 * row['bare_seconds']['median']:5.1f} ms, overhead "
                f"{100 * row['overhead']['median']:.2f} %, of the processor's time "
                f"{100 * row['processor_overhead']['median']:.2f} %"
            )
            rows.append(row)
    return rows


if __name__ == "__main__":
    main()
