"""Gauss-Newton matrices against explicit Jacobians; variable projection."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import pinns
from pinns.evaluation import grid_values
from pinns.factored import FactoredLoss
from pinns.solvers.gauss_newton import MAX_PARAMETERS, GaussNewton
from pinns.solvers.quasi_newton import QuasiNewton
from pinns.solvers.varpro import Projected
from tests.pinns.solvers.stepping import advanced


BOX = pinns.Box(x=(0.0, 1.0), y=(-1.0, 1.0))
COUNTS = (6, 5)
DATA = pinns.Data(np.array([[0.2, 0.3], [0.9, -0.4]]), np.array([0.5, 1.0]), weight=2.0)


def linear(u, x, y):
    return u.d("x", 2) + (1 + x) * u.d("y") - jnp.sin(3 * x) * y


def squared(u, x, y):
    return u.d("x") - u**2 + y


def setting(residual, model, conditions=()):
    problem = pinns.Problem(BOX, residual, list(conditions))
    points = BOX.points(COUNTS, "gauss_legendre", key=None, dtype="float64")
    loss = FactoredLoss(problem, model, points, "float64", choose="factored")
    params = model.init(jax.random.key(0), BOX, dtype="float64")
    return loss, loss.prepare(points), params, points


def residual_vector(loss, residual, points, flat, unravel):
    """The weighted residuals at all points, one by one, from the grid."""
    coordinates = [p.coordinates for p in points]
    x, y = coordinates[0][:, None], coordinates[1][None, :]

    class Values:
        def __init__(self, orders=(0, 0)):
            self.orders = orders

        def d(self, axis, order=1):
            raised = list(self.orders)
            raised["xy".index(axis)] += order
            return values(tuple(raised))

    def values(orders):
        return grid_values(
            loss.problem, loss.model, unravel(flat), coordinates, 0, orders
        )

    class Unknown(Values):
        def __pow__(self, power):
            return values((0, 0)) ** power

    found = residual(Unknown(), x, y)
    weights = points[0].weights[:, None] * points[1].weights[None, :]
    return (jnp.sqrt(weights) * found).reshape(-1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        pinns.CP(rank=2, hidden=(4,)),
        pinns.TensorTrain(rank=2, hidden=(4,)),
        pinns.Tucker(rank=2, hidden=(4,)),
    ],
    ids=lambda m: m.name,
)
@pytest.mark.parametrize("residual", [linear, squared])
def test_matrix_is_the_product_of_jacobians(residual, model, x64):
    loss, prepared, params, points = setting(residual, model)
    flat, unravel = ravel_pytree(params)
    jacobian = jax.jit(
        jax.jacfwd(lambda p: residual_vector(loss, residual, points, p, unravel))
    )(flat)
    found = jax.jit(GaussNewton(loss).matrix)(params, prepared)
    expected = jacobian.T @ jacobian
    scale = float(jnp.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * scale)


def test_one_step_solves_a_linear_least_squares_problem(x64):
    model = pinns.CP(rank=1, network="legendre", hidden=(8,))
    box = pinns.Box(x=(0.0, 1.0))
    problem = pinns.Problem(
        box,
        lambda u, x: u.d("x", 2) + jnp.pi**2 * jnp.sin(jnp.pi * x),
        [pinns.Dirichlet(0.0)],
    )
    points = box.points((20,), "gauss_legendre", key=None, dtype="float64")
    loss = FactoredLoss(problem, model, points, "float64")
    prepared = loss.prepare(points)
    solver = GaussNewton(loss)
    state = solver.init(model.init(jax.random.key(0), box, dtype="float64"))
    state, rows = advanced(solver, state, prepared, 30)
    losses = np.asarray(rows.total)
    assert (np.diff(losses) <= 0).all()
    x = jnp.linspace(0.0, 1.0, 11)
    values = grid_values(problem, model, state.params, [x])
    np.testing.assert_allclose(values, jnp.sin(jnp.pi * x), atol=1e-4)


def test_data_take_part(x64):
    model = pinns.CP(rank=2, hidden=(4,))
    loss, prepared, params, _ = setting(linear, model, [DATA])
    with_data = jax.jit(GaussNewton(loss).matrix)(params, prepared)
    plain, ready, _, _ = setting(linear, model)
    without = jax.jit(GaussNewton(plain).matrix)(params, ready)
    flat, unravel = ravel_pytree(params)

    def at_data(p):
        columns = [jnp.asarray(DATA.points[:, k]) for k in range(2)]
        return jnp.stack(
            [
                grid_values(loss.problem, model, unravel(p), [a[None], b[None]])[0, 0]
                for a, b in zip(*columns, strict=True)
            ]
        )

    jacobian = jax.jacfwd(at_data)(flat)
    expected = DATA.weight / 2 * jacobian.T @ jacobian
    np.testing.assert_allclose(with_data - without, expected, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [pinns.CP, pinns.TensorTrain, pinns.Tucker])
def test_projected_coefficients_are_the_best(kind, x64):
    # Features far from dependent, where the small ridge has no influence.
    model = kind(rank=2, network="siren", omega=6.0, hidden=(4,))
    conditions = [pinns.Dirichlet(lambda x: x, axes="y")]
    loss, prepared, params, _ = setting(linear, model, conditions)
    projected = Projected(loss)
    solved = jax.jit(projected.solved)(params, prepared)
    value, gradient = jax.jit(jax.value_and_grad(lambda p: loss(p, prepared)[0]))(
        solved
    )
    start, _ = projected._linear(gradient)
    largest = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient))
    assert float(jnp.abs(start).max()) <= 1e-6 * max(largest, 1.0)
    assert value <= jax.jit(loss)(params, prepared)[0]
    # The reduced loss has the partial gradient as its gradient.
    flat, unravel = ravel_pytree(params)
    reduced = jax.jit(lambda p: projected(unravel(p), prepared)[0])
    own = jax.jit(jax.grad(lambda p: projected(unravel(p), prepared)[0]))(flat)
    direction = jnp.cos(jnp.arange(flat.size) + 1.0)
    step = 1e-5
    slope = (reduced(flat + step * direction) - reduced(flat - step * direction)) / (
        2 * step
    )
    np.testing.assert_allclose(own @ direction, slope, rtol=1e-4, atol=1e-8)


def test_projected_loss_trains(x64):
    model = pinns.CP(rank=2, hidden=(4,))
    conditions = [pinns.Dirichlet(lambda x: x, axes="y")]
    loss, prepared, params, _ = setting(linear, model, conditions)
    projected = Projected(loss)
    solver = QuasiNewton(projected, "ssbroyden", groups=2)
    state, rows = advanced(solver, solver.init(params), prepared, 20)
    losses = np.asarray(rows.total)
    assert losses[-1] < losses[0]
    solved = jax.jit(projected.solved)(state.params, prepared)
    # The reduced loss adds a small multiple of the squared coefficients.
    value = jax.jit(loss)(solved, prepared)[0]
    np.testing.assert_allclose(value, losses[-1], rtol=1e-3)
    assert value <= losses[-1]


def test_bad_input(x64):
    def sine(u, x, y):
        return u.d("x", 2) + jnp.sin(u)

    model = pinns.CP(rank=2, hidden=(4,))
    problem = pinns.Problem(BOX, sine)
    points = BOX.points(COUNTS, "gauss_legendre", key=None, dtype="float64")
    loss = FactoredLoss(problem, model, points, "float64")
    for make in (lambda: GaussNewton(loss), lambda: Projected(loss)):
        with pytest.raises(ValueError, match="'residual' does not: 'sin' is applied"):
            make()
    with pytest.raises(ValueError, match="the term 'residual' is not separable"):
        FactoredLoss(problem, model, points, "float64", choose="factored")
    loss, *_ = setting(squared, model)
    with pytest.raises(ValueError, match="needs a linear problem, and 'residual'"):
        Projected(loss)
    wide = pinns.CP(rank=64)
    loss, _, params, _ = setting(linear, wide)
    with pytest.raises(ValueError, match=f"at most {MAX_PARAMETERS}, got"):
        GaussNewton(loss).init(params)
    with pytest.raises(ValueError, match="eliminates at most 2000 linear"):
        Projected(loss)
