"""Hard conditions hold to rounding for random parameters."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinns import (
    CP,
    MLP,
    Box,
    Dirichlet,
    Initial,
    Neumann,
    Problem,
    TensorTrain,
    Tucker,
)  # fmt: skip
from pinns.evaluation import grid_values, scattered_values
from pinns.losses import GridLoss


BOX = Box(t=(0.5, 2.0), x=(-1.0, 1.0), y=(0.0, 3.0))
MODELS = [CP(rank=3, hidden=(6,)), TensorTrain(rank=2, hidden=(6,)),
          Tucker(rank=2, hidden=(6,)), MLP(hidden=(6, 6))]  # fmt: skip


hard = partial(Dirichlet, hard=True)
values_on = jax.jit(grid_values, static_argnums=(0, 1, 4, 5))


def g(t, x, y):
    return jnp.sin(t + x) * jnp.exp(0.3 * y) + t * y


def g_t(t, x, y):
    return jnp.cos(t + x) * jnp.exp(0.3 * y) + y


def residual(u, t, x, y):
    return u.d("t", 2) - u.d("x", 2) + u.d("y") * u


def faces(problem, model, params, orders=(0, 0, 0), **fixed):
    x = [
        jnp.asarray([fixed[n]]) if n in fixed else jnp.linspace(a, b, 5)
        for n, (a, b) in zip("txy", BOX.intervals, strict=True)
    ]
    values = values_on(problem, model, params, x, 0, orders)
    return np.asarray(values), np.meshgrid(*map(np.asarray, x), indexing="ij")


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
def test_homogeneous_dirichlet(model, x64):
    problem = Problem(BOX, residual, [Dirichlet(0.0, axes=("x", "y"), hard=True)])
    params = model.init(jax.random.key(0), BOX, dtype="float64")
    for fixed in ({"x": -1.0}, {"x": 1.0}, {"y": 0.0}, {"y": 3.0}):
        assert not faces(problem, model, params, **fixed)[0].any()
    assert np.abs(faces(problem, model, params, t=0.5)[0]).max() > 1e-3


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
def test_values_and_velocity(model, x64):
    conditions = [
        Initial("t", g, hard=True),
        Initial("t", g_t, order=1, hard=True),
        Dirichlet(g, axes=("x", "y"), hard=True),
    ]
    problem = Problem(BOX, residual, conditions)
    params = model.init(jax.random.key(1), BOX, dtype="float64")
    for fixed in ({"t": 0.5}, {"x": -1.0}, {"x": 1.0}, {"y": 0.0}, {"y": 3.0}):
        values, points = faces(problem, model, params, **fixed)
        np.testing.assert_allclose(values, g(*points), atol=1e-13)
    velocity, points = faces(problem, model, params, (1, 0, 0), t=0.5)
    np.testing.assert_allclose(velocity, g_t(*points), atol=1e-12)
    inside = jnp.asarray([[1.5, 0.1, 1.0]])
    assert (
        abs(scattered_values(problem, model, params, inside)[0] - g(*inside[0])) > 1e-3
    )


def test_one_side_only(x64):
    problem = Problem(
        BOX,
        residual,
        [Dirichlet(2.0, axes="x", side="upper", hard=True), Dirichlet(g, "y")],
    )
    model = MODELS[0]
    params = model.init(jax.random.key(2), BOX, dtype="float64")
    np.testing.assert_allclose(faces(problem, model, params, x=1.0)[0], 2.0, atol=1e-14)
    assert np.ptp(faces(problem, model, params, x=-1.0)[0]) > 1e-3
    assert problem.groups == ("residual", "dirichlet(y)")


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
def test_residual_sees_the_lift_with_all_its_derivatives(model, x64):
    """Loss of the hard problem against the residual formed from its own values."""
    conditions = [
        Initial("t", g, hard=True),
        Dirichlet(g, axes="x", hard=True),
        Neumann(0.0, "y"),
    ]
    problem = Problem(BOX, residual, conditions)
    params = model.init(jax.random.key(3), BOX, dtype="float64")
    counts = (4, 3, 5)
    loss = GridLoss(problem, model, counts, "float64")
    points = BOX.points(counts, key=jax.random.key(0), dtype="float64")
    _, groups = jax.jit(loss)(params, jax.jit(loss.prepare)(points))
    x = [p.coordinates for p in points]

    def u(*orders):
        return np.asarray(values_on(problem, model, params, x, 0, orders))

    r = u(2, 0, 0) - u(0, 2, 0) + u(0, 0, 1) * u(0, 0, 0)
    np.testing.assert_allclose(groups[0], np.mean(r**2), rtol=1e-10)
    normal = []
    for end in BOX.interval("y"):
        at = [x[0], x[1], jnp.asarray([end])]
        normal.append(np.asarray(values_on(problem, model, params, at, 0, (0, 0, 1))))
    np.testing.assert_allclose(groups[1], np.mean(np.square(normal)), rtol=1e-10)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (
            [hard(0.0, "x"), hard(1.0, "x", side="upper")],
            "the upper end of axis 'x' is given twice",
        ),
        (
            [Initial("t", 0.0, hard=True), hard(0.0, "t", side="lower")],
            "the lower end of axis 't' is given twice",
        ),
        (
            [hard(0.0, "x"), hard(1.0, "y")],
            "lower face of 'x' and the lower face of 'y' differ by 1 where they meet",
        ),
        (
            [Initial("t", 0.0, hard=True), Initial("t", 1.0, order=1, hard=True),
             hard(0.0, "x")],
            "velocity face of 't' and the lower face of 'x' differ by 1 where they",
        ),
        ([hard(lambda x, y: jnp.log(x), "y")], "hard conditions must be finite"),
        ([Initial("t", 0.0, order=1, hard=True)], "needs a hard initial value"),
        (
            [
                Initial("t", 0.0, hard=True), Initial("t", 0.0, order=1, hard=True),
                hard(0.0, "t", side="upper"),
            ],
            "an initial velocity and a value at its upper end",
        ),
    ],
)  # fmt: skip
def test_contradictions(conditions, message):
    with pytest.raises(ValueError, match=message):
        Problem(BOX, residual, conditions)


def test_too_many_lifted_axes():
    box = Box.cube(7)
    with pytest.raises(ValueError, match="at most 6 axes, got 7"):
        Problem(box, lambda u, *x: u.d("x1"), [Dirichlet(lambda *x: x[0], hard=True)])
    zero = Problem(box, lambda u, *x: u.d("x1"), [Dirichlet(0.0, hard=True)])
    assert zero.lifts == (None,)
