"""Faces contracted together against each face contracted by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinns import (
    CP,
    Box,
    Dirichlet,
    Initial,
    Neumann,
    Periodic,
    Problem,
    Robin,
    TensorTrain,
    Tucker,
)
from pinns.losses import GridLoss
from tests._cases import pairs


MODELS = [CP(rank=3, hidden=(5,)), TensorTrain(rank=2, hidden=(5,)),
          Tucker(rank=2, hidden=(5,))]  # fmt: skip


def value(*x):
    return sum(jnp.sin(c + i) for i, c in enumerate(x))


def conditions(dimension):
    last = f"x{dimension}"
    return [
        Dirichlet(value),
        Initial("x1", 0.5, order=1),
        Neumann(value, axes=last, side="upper"),
        Robin(1.0, axes="x1", side="upper", alpha=2.0, beta=lambda x1: 1 + x1),
    ]


@pytest.mark.parametrize(
    ("model", "sampling", "dimension"),
    pairs(MODELS, ["uniform", "gauss_legendre"], [1, 2, 3, 5]),
    ids=lambda x: getattr(x, "name", None),
)
def test_together_equals_one_by_one(model, sampling, dimension, x64):
    box = Box.cube(dimension, (-1.0, 2.0))
    problem = Problem(box, lambda u, *x: u.d("x1"), conditions(dimension))
    counts = (4, 3, 2, 3, 4)[:dimension]
    params = model.init(jax.random.key(0), box, dtype="float64")
    points = box.points(counts, sampling, key=jax.random.key(1), dtype="float64")
    results = []
    for together in (True, False):
        loss = GridLoss(problem, model, counts, "float64")
        (batch, members) = loss.batches[0]
        assert len(members) == dimension + 3
        assert len(batch.left) + len(batch.right) == dimension + 3
        if not together:
            loss.batches = {}
        prepared = jax.jit(loss.prepare)(points)
        results.append(
            jax.jit(jax.value_and_grad(loss, has_aux=True))(params, prepared)
        )
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    "condition",
    [
        Periodic("x1"),  # two ends in one term
        Robin(0.0, axes="x1", beta=lambda x2: x2),  # varies along another axis
        Robin(0.0, axes="x1", alpha=lambda x1, x2: x1 * x2),  # along several
    ],
)
def test_other_conditions_are_contracted_by_themselves(condition):
    box = Box.cube(2)
    problem = Problem(box, lambda u, x1, x2: u.d("x1"), [condition])
    assert not GridLoss(problem, MODELS[0], (3, 4)).batches


def test_unknowns_have_batches_of_their_own():
    box = Box.cube(2)
    problem = Problem(
        box,
        lambda u, v, x1, x2: (u.d("x1"), v.d("x2")),
        [Dirichlet(0.0, unknown="u"), Dirichlet(1.0, "x2", unknown="v")],
        unknowns=("u", "v"),
    )
    loss = GridLoss(problem, MODELS[0], (3, 4))
    # Terms 0 and 1 are the equations.
    assert {k: m for k, (_, m) in loss.batches.items()} == {0: [2, 3], 1: [4]}
