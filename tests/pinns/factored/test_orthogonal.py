"""The orthogonalized norm: equal to the grid's, and below the floor of products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns.domain import AxisPoints
from pinns.factored import FactoredLoss
from pinns.factored.chain import chain
from pinns.factored.orthogonal import triangle
from pinns.losses import GridLoss
from tests.pinns.factored.test_loss import all_of, assert_equal


KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("problem", "model", "counts"),
    [
        # More points than columns: rows are shortened before the sweep.
        (pinns.problems.helmholtz3d(), pinns.CP(rank=2, hidden=(4,)), (24, 21, 26)),
        (
            pinns.problems.heat2d(),
            pinns.TensorTrain(rank=2, hidden=(4,)),
            (30, 28, 27),
        ),
        (pinns.problems.helmholtz3d(), pinns.Tucker(2, hidden=(4,)), (16, 17, 18)),
        (pinns.problems.poisson(dimension=5), pinns.CP(2, hidden=(4,)), (4,) * 5),
    ],
)
def test_many_points_and_axes_equal_the_grid(problem, model, counts, x64):
    (grid, own), _ = all_of(problem, model, counts, orthogonalize=(True,))
    assert_equal(grid, own)


def test_a_model_of_lower_rank_than_it_has_columns_has_the_gradient_of_the_grid(x64):
    """Equal columns and columns of zeros: the triangular factor is singular."""
    problem = pinns.problems.poisson(dimension=3)
    model = pinns.CP(rank=3, network="legendre", hidden=(4,))
    points = problem.box.points((7, 8, 9), "gauss_legendre", dtype="float64")
    params = model.init(KEY, problem.box, dtype="float64")
    kernel = params["factors_3"]["kernel"]
    kernel = kernel.at[:, :, 1].set(kernel[:, :, 0]).at[:, :, 2].set(0.0)
    params = {"factors_3": {"kernel": kernel}}
    grid = GridLoss(problem, model, (7, 8, 9), "float64")
    own = FactoredLoss(problem, model, points, choose="factored", orthogonalize=True)
    prepared = own.prepare(points)
    run = jax.jit(jax.value_and_grad(own, has_aux=True))
    reference = jax.jit(jax.value_and_grad(grid, has_aux=True))
    assert_equal(reference(params, grid.prepare(points)), run(params, prepared))
    (value, _), gradient = run(jax.tree.map(jnp.zeros_like, params), prepared)
    np.testing.assert_allclose(value, prepared.known.sum(), rtol=1e-13)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(gradient))


def test_the_triangle_keeps_inner_products_and_its_derivative(x64, rng):
    tall = jnp.asarray(rng.normal(size=(2, 7, 3)))
    tall = tall.at[0, :, 2].set(tall[0, :, 0])  # of rank two

    def through(m):
        return jnp.sum(jnp.sin(triangle(m).mT @ triangle(m)))

    def plain(m):
        return jnp.sum(jnp.sin(m.mT @ m))

    np.testing.assert_allclose(through(tall), plain(tall), rtol=1e-13)
    own, other = (jax.grad(f)(tall) for f in (through, plain))
    np.testing.assert_allclose(own, other, atol=1e-12)
    with pytest.raises(NotImplementedError, match="first derivatives only; take loss"):
        jax.hessian(through)(tall)


def test_faces_share_two_nodes_per_axis():
    problem = pinns.problems.poisson(dimension=9)
    points = problem.box.points(3, "gauss_legendre")
    loss = FactoredLoss(problem, pinns.CP(2, hidden=(3,)), points, "float32")
    found = chain(loss.plan)
    assert [len(nodes) for nodes in found.nodes] == [2] * 8
    # The residual, faces before the last axis, and both faces of the last.
    assert len(found.ends) <= 4


def test_its_floor_is_that_of_squares(x64):
    """At the exact solution inner products leave eps, squares eps^2, in float32."""
    problem = pinns.problems.helmholtz3d(a=(1, 2, 1))
    model = pinns.CP(rank=1, network="legendre", hidden=(20,))
    points = problem.box.points(32, "gauss_legendre", dtype="float64")
    features = [
        np.polynomial.legendre.legvander(np.asarray(p.coordinates), 19) for p in points
    ]
    kernels = [
        np.linalg.lstsq(f, np.sin(a * np.pi * np.asarray(p.coordinates)))[0]
        for f, p, a in zip(features, points, (1, 2, 1), strict=True)
    ]
    params = {"factors_1": {"kernel": jnp.asarray(np.stack(kernels)[:, :, None])}}
    params = jax.tree.map(lambda leaf: leaf.astype("float32"), params)
    found = []
    for choice in (False, True):
        loss = FactoredLoss(
            problem, model, points, "float32", choose="factored", orthogonalize=choice
        )
        prepared = loss.prepare(points)
        size = float(jnp.sum(prepared.known))
        assert float(loss.floor(prepared)) < size
        value = jax.jit(lambda p, loss=loss, known=prepared: loss(p, known)[0])
        found.append(abs(float(value(params))) / size)
    assert found[1] < 1e-5 * found[0]
    assert 0.0 <= found[1] < 1e-10


def test_weights_below_zero_are_refused(x64):
    problem = pinns.problems.poisson(dimension=1)
    points = [AxisPoints(jnp.array([0.2, 0.5, 0.8]), jnp.array([0.7, -0.4, 0.7]))]
    with pytest.raises(ValueError, match=r"must not be negative, got -0.4 on axis 'x"):
        FactoredLoss(problem, pinns.CP(1, hidden=(2,)), points, orthogonalize=True)
