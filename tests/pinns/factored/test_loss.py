"""The factored loss equals the grid loss, for every model and kind of operator."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns.factored import FactoredLoss
from pinns.losses import GridLoss


MODELS = {
    "cp": pinns.CP(rank=3, hidden=(6,)),
    "tt": pinns.TensorTrain(rank=2, hidden=(6,)),
    "tucker": pinns.Tucker(rank=2, hidden=(6,)),
}


def variable_coefficients():
    """Mixed derivatives, separable and non-separable coefficients, all conditions."""
    box = pinns.Box(t=(0.0, 1.0), x=(-1.0, 1.0), y=(0.0, 2.0))

    def residual(u, t, x, y):
        mixed = u.d("x").d("y") - jnp.exp(-(x**2) - t) * u.d("y", 2)
        swirl = u.d("x") / jnp.sqrt(1.0 + x**2 + y**2)
        return u.d("t") + mixed + x * y * swirl - jnp.sin(x + 2 * y) * (1 + t)

    conditions = [
        pinns.Initial("t", lambda x, y: jnp.cos(x) * y),
        pinns.Periodic("x"),
        pinns.Neumann(lambda t, x: t * x, axes="y", side="lower", weight=3.0),
        pinns.Robin(1.0, axes="y", side="upper", alpha=lambda t: 1 + t, beta=2.0),
    ]
    return pinns.Problem(box, residual, conditions)


def system():
    """Two unknowns, a product of them, three equations, data."""
    box = pinns.Box(x=(0.0, 1.0), y=(0.0, 1.0))

    def residual(u, v, x, y):
        return (
            u.d("x") + v.d("y") * u - x,
            v.d("x", 2) - 2.0 * u * u.d("y") + y * v,
            u + v - jnp.where(x > 0.5, 1.0, 0.0),
        )

    points = np.array([[0.2, 0.3], [0.7, 0.1]])
    conditions = [
        pinns.Dirichlet(lambda x: x, axes="y", unknown="u"),
        pinns.Data(points, np.array([1.0, 2.0]), unknown="v", weight=0.5),
    ]
    return pinns.Problem(
        box, residual, conditions, unknowns=("u", "v"), equations=3, name="system"
    )


def cube(dimension):
    return lambda: pinns.problems.poisson(dimension=dimension)


CASES = {
    **{f"poisson{d}": (cube(d), (4, 3, 5, 3, 4, 3)[:d]) for d in (1, 2, 4, 6)},
    "variable": (variable_coefficients, (6, 5, 4)),
    "system": (system, (5, 4)),
    "helmholtz_hard": (lambda: pinns.problems.helmholtz3d(hard=True), (5, 4, 3)),
    "klein_gordon": (lambda: pinns.problems.klein_gordon(velocity=True), (6, 5, 4)),
    "heat": (lambda: pinns.problems.heat2d(), (5, 4, 6)),
    "flow_mixing": (lambda: pinns.problems.flow_mixing(), (4, 6, 5)),
}


# Where the orthogonalized norm is compared too; other cases in test_orthogonal.py.
ORTHOGONALIZED = ("poisson1", "poisson2", "poisson4", "variable", "system")
# Every model meets every kind of term and of condition in the others.
SLOW = {
    *((case, model) for case in ("poisson2", "poisson6") for model in MODELS),
    *(("klein_gordon", model) for model in ("cp", "tucker")),
    *(("flow_mixing", model) for model in ("tt", "cp")),
    *(("heat", model) for model in ("tt", "tucker")),
}
PAIRS = [
    pytest.param(*pair, marks=[pytest.mark.slow] if pair in SLOW else [])
    for pair in itertools.product(CASES, MODELS)
]


def all_of(problem, model, counts, sampling="gauss_legendre", orthogonalize=(False,)):
    """Returns jitted (values, gradients) of the grid loss and of factored ones."""
    key = jax.random.key(0)
    points = problem.box.points(counts, sampling, key=key, dtype="float64")
    params = model.init(
        jax.random.key(1), problem.box, unknowns=len(problem.unknowns), dtype="float64"
    )
    grid = GridLoss(problem, model, counts, "float64")
    factored = [
        FactoredLoss(
            problem,
            model,
            points,
            "float64",
            choose="factored",
            tolerance=1e-14,
            orthogonalize=choice,
        )
        for choice in orthogonalize
    ]
    found = []
    for loss in (grid, *factored):
        run = jax.jit(jax.value_and_grad(loss, has_aux=True))
        found.append(run(params, loss.prepare(points)))
    return found, factored


def assert_equal(grid, factored):
    (total, groups), gradient = grid
    (own_total, own_groups), own_gradient = factored
    np.testing.assert_allclose(own_total, total, rtol=1e-12)
    np.testing.assert_allclose(own_groups, groups, rtol=1e-12, atol=1e-13 * total)
    leaves = jax.tree.leaves(gradient)
    # A leaf may vanish, such as the bias under a second derivative.
    largest = max(float(jnp.abs(leaf).max()) for leaf in leaves)
    for a, b in zip(jax.tree.leaves(own_gradient), leaves, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12 * largest)


@pytest.mark.parametrize(("case", "model"), PAIRS)
def test_factored_loss_equals_the_grid_loss(case, model, x64):
    make, counts = CASES[case]
    norms = (False, True) if case in ORTHOGONALIZED else (False,)
    (grid, *others), losses = all_of(make(), MODELS[model], counts, orthogonalize=norms)
    for loss, factored in zip(losses, others, strict=True):
        assert loss.grid is None
        assert not loss.grid_terms
        assert_equal(grid, factored)
