"""A separable problem as a task of the training engine."""

from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pinns
from jaxcore import training
from pinns.domain import AxisPoints
from pinns.losses import GridLoss
from pinns.solvers.first_order import FirstOrder
from tests.pinns.solvers.stepping import advanced


PROBLEM = pinns.problems.klein_gordon()
MODEL = pinns.CP(rank=4, hidden=(8,))
NAMES = PROBLEM.box.names
ADAM = optax.adam(2e-3)


class State(NamedTuple):
    params: Any
    optimizer: Any


@lru_cache
def grid_loss(counts: tuple[int, ...], dtype: str) -> GridLoss:
    return GridLoss(PROBLEM, MODEL, counts, dtype)


def axes_of(batch) -> list[AxisPoints]:
    return [AxisPoints(batch[name], None) for name in NAMES]


def task(dtype: str = "float32") -> training.Task:
    def init(key):
        params = MODEL.init(key, PROBLEM.box, unknowns=1, dtype=dtype)
        return State(params, ADAM.init(params))

    def loss(params, batch, key):
        counts = tuple(batch[name].shape[0] for name in NAMES)
        function = grid_loss(counts, dtype)
        return function(params, function.prepare(axes_of(batch)))

    def step(state, batch, key):
        gradient = training.value_and_grad(loss, has_aux=True)
        (value, groups), slope = gradient(state.params, batch, key)
        updates, optimizer = ADAM.update(slope, state.optimizer)
        params = optax.apply_updates(state.params, updates)
        return State(params, optimizer), {"loss": value, "groups": groups}

    return training.Task(init, step)


def points(counts=(8, 6, 5), every=None, dtype="float32") -> training.FunctionBatches:
    """Points drawn anew every so many steps; those of the first axis are split."""

    def read(step, rows):
        generator = np.random.default_rng([3, step])
        batch = {
            name: generator.uniform(*interval, n).astype(dtype)
            for name, interval, n in zip(
                NAMES, PROBLEM.box.intervals, counts, strict=True
            )
        }
        return {**batch, NAMES[0]: batch[NAMES[0]][rows]}

    axes = {name: 0 if name == NAMES[0] else None for name in NAMES}
    return training.FunctionBatches(read, counts[0], axes=axes, every=every)


def fit(steps=20, source=None, dtype="float32", **options):
    options = {"log": training.Log(every=1), **options}
    source = source or points(dtype=dtype)
    return training.fit(task(dtype), source, steps, key=jax.random.key(1), **options)


def distance(a, b) -> float:
    gaps = jax.tree.map(lambda x, y: np.sum((np.float64(x) - np.float64(y)) ** 2), a, b)
    norms = jax.tree.map(lambda x: np.sum(np.float64(x) ** 2), b)
    return float((sum(jax.tree.leaves(gaps)) / sum(jax.tree.leaves(norms))) ** 0.5)


def test_loss_of_a_separable_problem_falls():
    result = fit(150)
    losses = [row["loss"] for row in result.history]
    assert losses[-1] < 0.8 * losses[0]
    assert len(result.metrics["groups"]) == len(PROBLEM.groups)


def test_equal_to_the_solver_of_pinns():
    source = points()
    function = grid_loss((8, 6, 5), "float32")
    prepared = function.prepare(axes_of(source.read(0, slice(None))))
    solver = FirstOrder(function, ADAM)
    start = task().init(jax.random.fold_in(jax.random.key(1), 0))
    state, rows = advanced(solver, solver.init(start.params), prepared, 20)
    result = fit(20, source)
    ours = [row["loss"] for row in result.history]
    np.testing.assert_allclose(ours, rows.total, rtol=1e-5)
    assert distance(result.state.params, state.params) < 1e-5


@pytest.mark.parametrize("parallel", ["pmap", "sharded"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_first_axis_over_devices_equals_one(parallel, dtype):
    with jax.enable_x64(dtype == "float64"):
        one = fit(dtype=dtype)
        many = fit(dtype=dtype, parallel=parallel)
        gap = distance(many.state.params, one.state.params)
    assert gap < (1e-5 if dtype == "float32" else 1e-12)
    np.testing.assert_allclose(
        [row["loss"] for row in many.history],
        [row["loss"] for row in one.history],
        rtol=1e-4 if dtype == "float32" else 1e-11,
    )
    first = one.history[0]["groups"], many.history[0]["groups"]
    np.testing.assert_allclose(*first, rtol=1e-5)


def test_the_first_axis_is_split_and_no_other():
    seen = {}

    def step(state, batch, key):
        seen.update({name: batch[name].shape for name in NAMES})
        return state, {}

    training.fit(
        training.Task(lambda key: jnp.zeros(()), step),
        points(),
        1,
        key=jax.random.key(0),
        parallel="pmap",
    )
    assert seen == {"t": (2,), "x": (6,), "y": (5,)}


def test_resume_is_exact_with_points_drawn_anew(tmp_path):
    source = points(every=7)
    whole = fit(30, source)
    fit(16, source, checkpoint=tmp_path)
    resumed = fit(30, source, checkpoint=tmp_path)
    assert resumed.resumed == 16
    same = jax.tree.map(
        lambda a, b: np.asarray(a).tobytes() == np.asarray(b).tobytes(),
        resumed.state,
        whole.state,
    )
    assert jax.tree.all(same)
    held = fit(30)
    assert distance(held.state.params, whole.state.params) > 1e-3
