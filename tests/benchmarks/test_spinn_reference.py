"""The formulation that ours is timed against computes the same loss and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks import pinn_step, spinn_reference
from pinns.domain import AxisPoints
from pinns.losses import GridLoss
from pinns.separable import MODELS


RANK = 3
# Little to compile: one hidden layer, of a width that is not the rank.
HIDDEN = (4,)
COMPILER = {"xla_backend_optimization_level": 0}
# Unequal counts, so that no two axes can be mistaken for each other.
CASES = {"klein_gordon": (5, 6, 7), "helmholtz": (5, 6, 7), "poisson": (3, 4, 5, 3, 4)}


def both(problem_name: str, model_name: str):
    """Losses of ours and of the reference, parameters, and their conversion."""
    counts = CASES[problem_name]
    problem = pinn_step.problem(problem_name)
    model = MODELS[model_name](rank=RANK, hidden=HIDDEN)
    box = problem.box
    rng = np.random.default_rng(0)
    coordinates = [
        rng.uniform(*ends, n) for n, ends in zip(counts, box.intervals, strict=True)
    ]
    points = [AxisPoints(jnp.asarray(x), None) for x in coordinates]
    # All random, biases too, so that a mistake in their place is seen.
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape)),
        jax.eval_shape(
            lambda k: model.init(k, box, dtype="float64"), jax.random.key(0)
        ),
    )
    ours = GridLoss(problem, model, counts, "float64")
    equation = spinn_reference.EQUATIONS[problem_name]()

    def reference(params):
        data = spinn_reference.data(equation, [p.coordinates for p in points])
        return spinn_reference.loss(equation, model_name, params, data)

    def convert(params):
        return spinn_reference.from_pinns(model.shapes(box.dimension), params)

    return lambda p: ours(p, ours.prepare(points))[0], reference, params, convert


def run(function, *arguments):
    compiled = jax.jit(function).lower(*arguments).compile(COMPILER)
    return compiled(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("problem", CASES)
def test_loss_and_gradient_are_ours(x64, problem: str, model: str):
    ours, reference, params, convert = both(problem, model)
    loss, gradient = run(jax.value_and_grad(ours), params)
    expected, by_axis = run(jax.value_and_grad(reference), convert(params))
    assert loss.dtype == expected.dtype == jnp.float64
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    scale = max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(by_axis))
    converted = convert(gradient)
    assert jax.tree.structure(converted) == jax.tree.structure(by_axis)
    for ours_leaf, leaf in zip(
        jax.tree.leaves(converted), jax.tree.leaves(by_axis), strict=True
    ):
        np.testing.assert_allclose(ours_leaf, leaf, rtol=1e-10, atol=1e-10 * scale)
    # Every number of ours has its counterpart.
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(t)) for t in (gradient, by_axis)]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("model", MODELS)
def test_value_is_the_sum_over_ranks(x64, model: str):
    """Against a loop, so that both sides cannot be wrong in the same way."""
    _, _, params, convert = both("helmholtz", model)
    params = convert(params)
    x = [np.linspace(0.1, 0.9, n) for n in (2, 3, 4)]
    a, b, c = (
        features(layers, points)
        for layers, points in zip(params["networks"], x, strict=True)
    )
    expected = np.zeros((2, 3, 4))
    for i, j, k in np.ndindex(2, 3, 4):
        if model == "cp":
            expected[i, j, k] = sum(a[i] * b[j] * c[k])
        elif model == "tt":
            expected[i, j, k] = a[i] @ b[j].reshape(RANK, RANK) @ c[k]
        else:
            for p, q, r in np.ndindex(RANK, RANK, RANK):
                term = a[i, p] * b[j, q] * c[k, r]
                expected[i, j, k] += params["core"][p, q, r] * term
    computed = spinn_reference.apply(model, params, *map(jnp.asarray, x))
    np.testing.assert_allclose(computed, expected, rtol=1e-12, atol=1e-14)


def features(layers, points: np.ndarray) -> np.ndarray:
    h = points[:, None]
    for kernel, bias in layers[:-1]:
        h = np.tanh(h @ np.asarray(kernel) + np.asarray(bias))
    return h @ np.asarray(layers[-1][0]) + np.asarray(layers[-1][1])


def test_step_is_one_of_adam(x64):
    _, _, params, convert = both("helmholtz", "cp")
    params = convert(params)
    equation = spinn_reference.helmholtz()
    x = [jnp.linspace(-0.9, 0.9, n) for n in CASES["helmholtz"]]
    optimizer = optax.adam(1e-3)
    step = spinn_reference.step(equation, "cp", optimizer)

    def first(params):
        data = spinn_reference.data(equation, x)
        return step((params, optimizer.init(params)), data)

    (after, _), loss = run(first, params)
    assert loss > 0
    # The first step of Adam moves every parameter by the learning rate.
    moved = jax.tree.map(lambda a, b: np.max(np.abs(a - b)), params, after)
    largest = max(jax.tree.leaves(moved))
    np.testing.assert_allclose(largest, 1e-3, rtol=1e-4)
