"""Spaces of few functions that are chosen for a problem, and models that grow."""

import jax
import numpy as np
import pytest

import pinns
from pinns import linear
from pinns.domain import precision
from pinns.factored import FactoredLoss
from pinns.solvers import _als_options
from pinns.solvers._subspaces import _Space
from pinns.solvers.als import _Solver, solve_als


HIDDEN, SIZE = 64, 14


@pytest.fixture(scope="module")
def density():
    return pinns.problems.fokker_planck(dimension=1, diffusion=0.5)


def test_chosen_functions_hold_the_solution_at_all_times(density):
    model = pinns.TensorTrain(rank=2, network="legendre", hidden=(HIDDEN,))
    with precision("float64"):
        points = density.box.points(2 * HIDDEN, "gauss_legendre", dtype="float64")
        loss = FactoredLoss(density, model, points, choose="factored")
        bases = _Solver(loss, SIZE).bases
    x, w = (np.asarray(a) for a in (points[1].coordinates, points[1].weights))
    low, high = density.box.intervals[1]
    s = (2.0 * x - low - high) / (high - low)
    features = (1.0 - s**2)[:, None] * np.polynomial.legendre.legvander(s, HIDDEN - 1)
    functions = features @ np.asarray(bases.transform)[0, 1]
    gram = functions.T @ (w[:, None] * functions)
    np.testing.assert_allclose(gram, np.eye(SIZE), atol=1e-8)
    plain, _ = np.linalg.qr(np.sqrt(w)[:, None] * features[:, :SIZE])
    chosen = np.sqrt(w)[:, None] * functions
    for t in (0.0, 0.3, 1.0):
        with precision("float64"):
            values = np.asarray(density.exact[0](np.full_like(x, t), x))
        exact = np.sqrt(w) * values
        gaps = [
            np.linalg.norm(exact - q @ (q.T @ exact)) / np.linalg.norm(exact)
            for q in (chosen, plain)
        ]
        assert gaps[0] < 1e-2 * gaps[1], gaps


def test_a_space_takes_what_is_new_only(rng):
    space = _Space(5, 3)
    a, b = rng.normal(size=(2, 5))
    assert space.add(a)
    assert not space.add(-2.0 * a)
    assert not space.add(np.zeros(5))
    assert space.add(a + b)
    space.grow(np.diag(np.arange(1.0, 6.0)), 5)
    assert len(space.vectors) == 3
    vectors = np.stack(space.vectors)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(3), atol=1e-14)


def test_the_model_grows_until_it_holds_the_solution(density, monkeypatch):
    stage = linear._Stage(rank=5, hidden=HIDDEN, subspace=18, steps=20)
    monkeypatch.setattr(linear, "STAGES", (stage,))
    key = jax.random.key(0)
    solution = pinns.solve(density, method="als", key=key, steps=20, progress=False)
    first, last = solution.settings["report"]["tried"]
    assert (first["functions"], last["functions"], last["subspace"]) == (12, 64, 18)
    assert last["share"] < 1e-3 * first["share"]
    assert "18 chosen among 64 with rank 5" in solution.settings["reason"]
    with pytest.warns(UserWarning, match="the solution does not fit into this model"):
        small = pinns.solve(
            density, method="als", key=key, size=12, steps=5, progress=False
        )
    assert solution.relative_l2() < 0.01 * small.relative_l2()


@pytest.mark.parametrize(
    ("model", "options", "match"),
    [
        ("legendre", {"subspace": 0}, r"`subspace` must be a positive integer, got 0"),
        (
            "random_features",
            {"subspace": 4},
            r"`subspace` is for models in chebyshev, ",
        ),
        ("legendre", {"gain": 1.0}, r"`gain` must be from 0 to below 1, got 1.0"),
    ],
)
def test_bad_options_are_named(density, model, options, match):
    points = density.box.points(4, "gauss_legendre")
    network = pinns.TensorTrain(rank=1, network=model, hidden=(4,))
    assert _als_options.SELECTABLE == ("chebyshev", "legendre", "fourier")
    with pytest.raises(ValueError, match=match):
        solve_als(density, network, points, key=jax.random.key(0), sweeps=1, **options)
