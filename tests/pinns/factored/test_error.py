"""The factored error equals the error on the grid, and goes below it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns.evaluation import grid_values
from pinns.factored import relative_l2


values_on = jax.jit(grid_values, static_argnums=(0, 1, 4))


def product(hard=False):
    box = pinns.Box(x=(-1.0, 1.0), y=(0.0, 2.0), z=(0.0, 1.0))

    def exact(x, y, z):
        return jnp.sin(x + 2.0 * y) * jnp.exp(z) + x * z

    def residual(u, x, y, z):
        return u.d("x", 2) + u.d("y") - u

    conditions = [pinns.Dirichlet(exact, axes="z", side="lower", hard=hard)]
    return pinns.Problem(box, residual, conditions, exact=exact)


def pair():
    box = pinns.Box(x=(0.0, 1.0), y=(0.0, 1.0))
    exact = {"u": lambda x, y: x + y, "v": lambda x, y: jnp.cos(x * y)}
    return pinns.Problem(
        box, lambda u, v, x, y: (u - v, u), unknowns=("u", "v"), exact=exact
    )


PROBLEMS = {
    "soft": product,
    "hard": lambda: product(hard=True),
    "poisson": lambda: pinns.problems.poisson(dimension=3),
    "one_axis": lambda: pinns.problems.poisson(dimension=1),
}


def on_the_grid(problem, model, params, num_points, unknown=0):
    points = problem.box.points(num_points, "gauss_legendre", dtype="float64")
    x = [p.coordinates for p in points]
    wide = [np.asarray(c).reshape([-1 if i == k else 1 for i in range(len(x))])
            for k, c in enumerate(x)]  # fmt: skip
    weights = np.array(1.0)
    for p in points:
        weights = weights[..., None] * np.asarray(p.weights)
    ours = np.asarray(values_on(problem, model, params, x, unknown))
    theirs = np.asarray(problem.exact[unknown](*wide))
    gap = np.sum(weights * (ours - theirs) ** 2)
    return np.sqrt(gap / np.sum(weights * theirs**2))


@pytest.mark.parametrize("model", [pinns.CP(rank=3), pinns.TensorTrain(rank=3)])
@pytest.mark.parametrize("name", PROBLEMS)
def test_equals_the_error_on_the_grid(name, model, key, x64):
    problem = PROBLEMS[name]()
    params = model.init(key, problem.box, dtype="float64")
    found = relative_l2(problem, model, params, 20)
    np.testing.assert_allclose(
        found, on_the_grid(problem, model, params, 20), rtol=1e-10
    )


def test_several_unknowns(key, x64):
    problem, model = pair(), pinns.CP(rank=2)
    params = model.init(key, problem.box, unknowns=2, dtype="float64")
    found = relative_l2(problem, model, params, 16)
    assert set(found) == {"u", "v"}
    for unknown, name in enumerate("uv"):
        expected = on_the_grid(problem, model, params, 16, unknown)
        np.testing.assert_allclose(found[name], expected, rtol=1e-10)


@pytest.mark.parametrize("dimension", [3, 40])
def test_small_errors_do_not_drown(dimension, x64):
    """An error of 1e-11 comes out, where differences of squares stop at 1e-8."""
    box = pinns.Box.cube(dimension, (-1.0, 1.0))

    def exact(*x):
        total = x[0] + 3.0
        for coordinate in x[1:]:
            total = total + coordinate
        return total

    problem = pinns.Problem(box, lambda u, *x: u - exact(*x), exact=exact)
    model = pinns.TensorTrain(rank=2, network="legendre", hidden=(2,))
    params = model.init(jax.random.key(0), box, dtype="float64")
    first = np.stack([[1.0, 3.0], [0.0, 1.0]])
    last = np.stack([[0.0, 1.0], [1.0, 0.0]])
    middle = np.stack([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0]])
    size = np.sqrt(9.0 + dimension / 3.0)
    first[1, 1] += 1e-11 * size * np.sqrt(3.0)
    params["factors_2"]["kernel"] = jnp.asarray(np.stack([first, last]))
    inner = jnp.asarray(np.stack([middle] * (dimension - 2)))
    params["factors_4"]["kernel"] = inner
    found = relative_l2(problem, model, params, 6)
    np.testing.assert_allclose(found, 1e-11, rtol=1e-3)


def test_refusals(key):
    problem = pinns.problems.poisson(dimension=2)
    tucker = pinns.Tucker(rank=2)
    with pytest.raises(TypeError, match=r"`model` must be a pinns.CP or pinns.Tensor"):
        relative_l2(problem, tucker, tucker.init(key, problem.box))
    model = pinns.CP(rank=2)
    params = model.init(key, problem.box)
    with pytest.raises(ValueError, match="`num_points` must be a positive integer"):
        relative_l2(problem, model, params, 0)
    bare = pinns.Problem(problem.box, problem.residual)
    with pytest.raises(ValueError, match="needs an exact or reference solution"):
        relative_l2(bare, model, params)
    rough = pinns.Problem(
        pinns.Box(x=(0.0, 1.0), y=(0.0, 1.0)),
        lambda u, x, y: u.d("x"),
        exact=lambda x, y: jnp.cos(60.0 * jnp.abs(x - y) ** 0.1) + jnp.sqrt(x + 2 * y),
    )
    with pytest.raises(ValueError, match="the exact solution of 'u' is not separable"):
        relative_l2(rough, model, params, 200)


@pytest.mark.parametrize(
    ("make", "axis"),
    [
        (lambda: pinns.problems.fokker_planck(dimension=1, diffusion=1.0), "t"),
        (lambda: product(hard=True), "y"),
    ],
)
def test_slices_equal_the_error_on_the_grid(make, axis, key, x64):
    problem = make()
    model = pinns.TensorTrain(rank=2, hidden=(4,))
    params = model.init(key, problem.box, dtype="float64")
    found = relative_l2(problem, model, params, 12, slices=axis)
    expected = on_the_grid(problem, model, params, 12)
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    with pytest.raises(ValueError, match="w"):
        relative_l2(problem, model, params, 12, slices="w")
