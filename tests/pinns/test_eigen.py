"""Ground states of operators whose spectrum is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns import (
    CP,
    MLP,
    Box,
    Dirichlet,
    Eigenproblem,
    TensorTrain,
    Tucker,
    eigen,
    ground_state,
    report,
)


KEY = jax.random.key(0)
SQUARE = Box(x=(0.0, 1.0), y=(0.0, 2.0))
HARD = Dirichlet(0.0, hard=True)
LEGENDRE = {"network": "legendre", "hidden": (14,)}


def membrane(**options):
    """-Laplace on a rectangle: pi^2 (1 + 1/4), product of sines."""

    def operator(u):
        return -u.d("x", 2) - u.d("y", 2)

    def exact(x, y):
        return 2**0.5 * jnp.sin(jnp.pi * x) * jnp.sin(jnp.pi * y / 2)

    return Eigenproblem(SQUARE, operator, [HARD], exact=exact, **options)


@pytest.mark.parametrize("kind", [CP, TensorTrain, Tucker])
def test_membrane(kind):
    found = ground_state(membrane(), kind(rank=1, **LEGENDRE), key=KEY)
    assert found.converged
    assert found.energy == pytest.approx(1.25 * np.pi**2, rel=1e-11)
    assert found.residual < 1e-6
    assert found.solution.relative_l2() < 1e-7
    assert found.solution.problem.energy == found.energy
    assert found.solution.residual_rms() < 1e-6


def test_oscillators_in_ten_dimensions():
    problem = pinns.problems.harmonic_oscillator(dimension=10)
    model = CP(rank=1, network="legendre", hidden=(44,))
    found = ground_state(problem, model, key=KEY, steps=6)
    assert found.energy == pytest.approx(5.0, rel=1e-9)
    assert abs(found.energy - 5.0) <= found.residual
    assert np.all(np.diff(found.energies) <= 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [CP, TensorTrain, Tucker])
def test_coupled_oscillators(kind):
    """Ranks matter: rank one gives the mean-field energy, which lies above."""
    problem = pinns.problems.harmonic_oscillator(dimension=2, coupling=1.0)
    energies = []
    for rank in (1, 3):
        model = kind(rank=rank, network="legendre", hidden=(36,))
        found = ground_state(problem, model, key=KEY, steps=8)
        assert found.energy > problem.energy - 1e-9
        assert abs(found.energy - problem.energy) <= found.residual
        energies.append(found.energy - problem.energy)
    assert energies[0] > 1e-2
    assert energies[1] < 1e-2 * energies[0]


def test_networks_by_lbfgs():
    problem = membrane()
    model = CP(rank=1, hidden=(8,), network="siren", omega=3.0)
    found = ground_state(problem, model, key=KEY, points=24, steps=200)
    assert found.solution.settings["method"] == "lbfgs"
    assert found.energy == pytest.approx(1.25 * np.pi**2, rel=1e-5)
    assert found.energy > 1.25 * np.pi**2 - 1e-6
    by_axes = ground_state(problem, model, "alternating", key=KEY, points=24, steps=3)
    assert by_axes.energy == pytest.approx(1.25 * np.pi**2, rel=1e-2)


def test_forms_against_dense_quadrature(x64):
    """<u, H u> and <u, u> of an operator with variable coefficients on a grid."""
    from pinns.evaluation import grid_values
    from pinns.factored.quotient import RayleighQuotient

    def operator(u, x, y):
        first = jnp.exp(x) * u.d("x", 2) - u.d("x").d("y") + jnp.sqrt(1 + x + y) * u
        return first - jnp.cos(x) * u.d("y", 2)

    problem = Eigenproblem(SQUARE, operator, [HARD])
    points = SQUARE.points(12, "gauss_legendre", dtype="float64")
    x, y = (p.coordinates for p in points)
    weights = np.multiply.outer(*(np.asarray(p.weights) for p in points))
    for model in (CP(rank=2, hidden=(4,)), TensorTrain(rank=2, hidden=(4,))):
        params = model.init(KEY, SQUARE, dtype="float64")
        quotient = RayleighQuotient(problem, model, points)
        ours = quotient(params, quotient.data())
        u, xx, xy, y1 = (
            np.asarray(grid_values(problem, model, params, [x, y], 0, orders))
            for orders in ((0, 0), (2, 0), (1, 1), (0, 1))
        )
        applied = np.exp(x)[:, None] * xx - xy
        applied = applied + np.sqrt(1 + x[:, None] + y[None, :]) * u
        # By parts in y, where the coefficient does not depend on it.
        operator_form = u * applied + np.cos(x)[:, None] * y1**2
        expected = [np.sum(weights * operator_form), np.sum(weights * u * u)]
        np.testing.assert_allclose(ours, expected, rtol=1e-10)


def test_too_few_points_are_noticed():
    with pytest.warns(pinns.OverfitWarning, match="hides between the points"):
        found = ground_state(membrane(), CP(rank=1, **LEGENDRE), key=KEY, points=6)
    assert found.energies[-1] < 1.25 * np.pi**2 - 0.1
    assert found.energy > 1.25 * np.pi**2 - 1e-9


def test_solutions_save_and_load(tmp_path):
    problem = pinns.problems.harmonic_oscillator(dimension=2)
    found = ground_state(problem, CP(rank=1, **LEGENDRE), key=KEY, steps=2)
    again = pinns.load(found.solution.save(tmp_path))
    points = np.random.default_rng(0).uniform(-2, 2, (5, 2))
    np.testing.assert_array_equal(again.at(points), found.solution.at(points))


def test_bad_input(monkeypatch):
    model = CP(rank=1, **LEGENDRE)
    problem = membrane()
    with pytest.raises(TypeError, match=r"`problem` must be a pinns.Eigenproblem"):
        ground_state(pinns.problems.heat2d(), model, key=KEY)
    with pytest.raises(TypeError, match=r"`model` must be pinns.CP, .* MLP"):
        ground_state(problem, MLP((4,)), key=KEY)
    with pytest.raises(ValueError, match="`method` must be one of auto, alternating"):
        ground_state(problem, model, "adam", key=KEY)
    with pytest.raises(TypeError, match=r"`key` must be a typed random key .* got 0"):
        ground_state(problem, model, key=0)
    with pytest.raises(ValueError, match="`tolerance` must be a positive number"):
        ground_state(problem, model, key=KEY, tolerance=0)
    with pytest.raises(ValueError, match="`steps` must be a positive integer"):
        ground_state(problem, model, key=KEY, steps=0)
    soft = pinns.problems.harmonic_oscillator(dimension=2, hard=False)
    with pytest.raises(ValueError, match=r"must be Dirichlet\(0.0, hard=True\) on all"):
        ground_state(soft, model, key=KEY)
    for operator in (lambda u, x: u.d("x", 2) + x, lambda u: u.d("x", 2) + u**2):
        with pytest.raises(ValueError, match="must be linear in the unknown"):
            ground_state(Eigenproblem(SQUARE, operator, [HARD]), model, key=KEY)
    sine = Eigenproblem(SQUARE, lambda u: jnp.sin(u) + u.d("x"), [HARD])
    with pytest.raises(ValueError, match="is not separable: 'sin' is applied"):
        ground_state(sine, model, key=KEY)
    pole = Eigenproblem(
        SQUARE, lambda u, x: u * jnp.where(x > 0.5, jnp.inf, x) - u.d("y", 2), [HARD]
    )
    with pytest.raises(
        ValueError, match=r"pinns.ground_state: .* is not finite at x ="
    ):
        ground_state(pole, model, key=KEY)
    with pytest.raises(ValueError, match=r"Eigenproblem: `energy` must be a finite"):
        membrane(energy=float("nan"))
    lost = lambda quotient, model, params, *_: (params, np.array([np.nan]), False)  # noqa: E731
    monkeypatch.setattr(eigen, "_alternating", lost)
    with pytest.raises(FloatingPointError, match="the energy became nan after 1"):
        ground_state(problem, model, key=KEY)


def test_solve_finds_the_ground_state_by_itself(monkeypatch):
    monkeypatch.setattr(eigen, "FUNCTIONS", 24)
    problem = pinns.problems.harmonic_oscillator(dimension=1)
    solution = pinns.solve(problem, key=jax.random.key(0), points=64, steps=3)
    settings = solution.settings
    assert abs(settings["energy"] - 0.5) < 1e-3
    assert (
        "an eigenproblem: its smallest eigenvalue, with rank 1 to 1"
        in (settings["reason"])
    )
    assert solution.model == pinns.TensorTrain(rank=1, network="legendre", hidden=(24,))
    record = report.record(solution, None, solution.certificate())
    assert (record["method"], record["seed"]) == ("alternating", 0)


@pytest.mark.parametrize(
    ("options", "name"),
    [({"seconds": 3.0}, "seconds"), ({"loss": "grid"}, "loss"), ({"size": 4}, "size")],
)
def test_solve_says_what_an_eigenproblem_does_not_take(options, name):
    problem = pinns.problems.harmonic_oscillator(dimension=1)
    with pytest.raises(ValueError, match=f"`{name}` does not belong to an eigenprob"):
        pinns.solve(problem, key=jax.random.key(0), **options)


@pytest.mark.parametrize("method", ["direct", "ssbroyden", "adam", "newton"])
def test_methods_that_would_find_zero_are_refused(method):
    problem = pinns.problems.harmonic_oscillator(dimension=1)
    expected = f"must be one of auto, als, lbfgs, got '{method}'.*find u = 0"
    with pytest.raises(ValueError, match=expected):
        pinns.solve(problem, method=method, key=jax.random.key(0))


def test_alternating_and_descending_ground_states_agree():
    problem = pinns.problems.harmonic_oscillator(dimension=1)
    model = pinns.CP(rank=1, network="legendre", hidden=(24,))
    energies = [
        pinns.solve(problem, model, method, key=jax.random.key(0)).settings["energy"]
        for method in ("als", "lbfgs")
    ]
    np.testing.assert_allclose(*energies, rtol=1e-9)
    np.testing.assert_allclose(energies, 0.5, rtol=1e-3)
