"""The pointwise baselines: the gradient term against differences, and what they run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns import CP, MLP, Box, Dirichlet, Initial, Problem
from pinns.baselines import BASELINES, gradient_enhanced
from pinns.domain import AxisPoints
from pinns.evaluation import scattered_residual
from pinns.factored import FactoredLoss
from pinns.losses import GridLoss
from pinns.weighting import Causal, SelfAdaptive


BOX = Box(t=(0.0, 1.0), x=(-1.0, 1.0))
NET = MLP(hidden=(4, 4))


def wild(u, t, x):
    return u.d("t") - jnp.cos(x) * u.d("x", 2) + jnp.sin(t) * u**3 + jnp.tanh(u) - t * x


def linear(u, t, x):
    return u.d("t") - jnp.cos(x) * u.d("x", 2) + t * u - jnp.sin(t * x)


def conditions(hard=False):
    start = lambda x: jnp.sin(jnp.pi * x)  # noqa: E731
    return [Initial("t", start, hard=hard), Dirichlet(0.0, axes="x", hard=hard)]


def mean_squares(problem, model, params, points):
    loss = GridLoss(problem, model, (4, 3), "float64")

    @jax.jit
    def run(params):
        return loss(params, loss.prepare(points))

    total, found = run(params)
    return dict(zip(problem.groups, found.tolist(), strict=True)), total


@pytest.mark.parametrize("model", [NET, CP(rank=2, hidden=(4,))], ids=["mlp", "cp"])
@pytest.mark.parametrize("hard", [False, True])
def test_gradient_term_equals_finite_differences(model, hard, x64):
    problem = Problem(BOX, wild, conditions(hard))
    enhanced = gradient_enhanced(problem, weight=0.3)
    points = BOX.points((4, 3), key=jax.random.key(1), dtype="float64")
    params = model.init(jax.random.key(0), BOX, dtype="float64")
    groups, total = mean_squares(enhanced, model, params, points)
    plain, before = mean_squares(problem, model, params, points)
    grid = jnp.meshgrid(*(p.coordinates for p in points), indexing="ij")
    at = jnp.stack([c.reshape(-1) for c in grid], axis=1)
    residual = jax.jit(lambda at: scattered_residual(problem, model, params, at)[0])
    h = 1e-5
    shifts = h * jnp.eye(2)[:, None, :]
    slopes = [(residual(at + s) - residual(at - s)) / (2 * h) for s in shifts]
    squares = [jnp.mean(s**2) for s in slopes]
    # Reported as the mean over the components, weighed as their sum.
    found = groups.pop("residual gradient")
    np.testing.assert_allclose(found, np.mean(squares), rtol=1e-7)
    np.testing.assert_allclose(total, before + 0.3 * sum(squares), rtol=1e-7)
    assert groups == pytest.approx(plain, rel=1e-12)


def test_gradient_of_a_linear_residual_stays_factored(x64):
    enhanced = gradient_enhanced(Problem(BOX, linear, conditions()))
    model, points = CP(rank=2, hidden=(4,)), BOX.points(6, "gauss_legendre",
                                                        dtype="float64")  # fmt: skip
    loss = FactoredLoss(enhanced, model, points, "float64", choose="factored")
    assert loss.grid is None
    params = model.init(jax.random.key(0), BOX, dtype="float64")
    grid = GridLoss(enhanced, model, (6, 6), "float64")
    ready = loss.prepare(points), grid.prepare(points)
    totals = jax.jit(lambda p: (loss(p, ready[0]), grid(p, ready[1])))(params)
    np.testing.assert_allclose(*(t[1] for t in totals), rtol=1e-8)


def test_systems_have_a_gradient_for_every_equation(x64):
    def residual(u, v, t, x):
        return u.d("t") - v.d("x"), v.d("t") - u * v

    system = Problem(BOX, residual, unknowns=("u", "v"))
    enhanced = gradient_enhanced(system, 1.0)
    params = NET.init(jax.random.key(0), BOX, unknowns=2, dtype="float64")
    one = [AxisPoints(jnp.asarray([c]), None) for c in (0.3, -0.2)]
    loss = GridLoss(enhanced, NET, (1, 1), "float64")
    group = enhanced.groups.index("residual gradient")
    found = jax.jit(lambda p: loss(p, loss.prepare(one))[1][group])(params)

    def values(at):
        return jnp.stack(scattered_residual(system, NET, params, at[None]))[:, 0]

    slope = jax.jit(jax.jacfwd(values))(jnp.array([0.3, -0.2]))
    np.testing.assert_allclose(found, jnp.sum(slope**2) / 2, rtol=1e-11)


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_runs_on_the_same_problem(name):
    problem = Problem(BOX, wild, conditions())
    recipe = BASELINES[name](problem, NET)
    options = {"points": 4, "steps": 3, "key": jax.random.key(0)}
    solution = pinns.solve(recipe.problem, recipe.model, **options, **recipe.options)
    weighting = solution.settings.get("weighting", {}).get("name")
    expected = {"sa_pinn": "self_adaptive", "causal_pinn": "causal"}
    assert weighting == expected.get(name)
    assert ("residual gradient" in solution.history.names) == (name == "g_pinn")
    assert solution.history.names[:3] == problem.groups
    assert np.isfinite(solution.history.loss).all()


def test_options_of_the_recipes():
    problem = Problem(BOX, wild, conditions())
    make = BASELINES
    assert make["vanilla"](problem).model == MLP()
    assert make["g_pinn"](problem, weight=0.5).problem.terms[-1].weight == 0.5
    chosen = SelfAdaptive(power=1)
    assert make["sa_pinn"](problem, weighting=chosen).options["weighting"] is chosen
    chosen = Causal(epsilon=2.0)
    assert make["causal_pinn"](problem, weighting=chosen).options["weighting"] is chosen


def test_enhanced_solutions_are_saved_and_certified(tmp_path):
    problem = Problem(BOX, linear, conditions())
    enhanced = gradient_enhanced(problem)
    options = {"points": 4, "steps": 2, "key": jax.random.key(0)}
    model = CP(rank=2, hidden=(4,))
    solution = pinns.solve(enhanced, model, "adam", **options)
    folder = solution.save(tmp_path)
    assert pinns.load(folder, enhanced).step == 2
    with pytest.raises(pinns.LoadError, match="loss groups"):
        pinns.load(folder, problem)
    certificate = solution.certificate()
    assert set(certificate.boundary) == {"initial(t)", "dirichlet(x)"}


def test_bad_input():
    problem = Problem(BOX, linear, [Dirichlet(0.0)])
    with pytest.raises(TypeError, match=r"`problem` must be a pinns\.Problem, got 3"):
        gradient_enhanced(3)
    with pytest.raises(ValueError, match="`weight` must be a positive number, got 0"):
        gradient_enhanced(problem, 0)
    with pytest.raises(ValueError, match="has a 'residual gradient' already"):
        gradient_enhanced(gradient_enhanced(problem))
    with pytest.raises(TypeError, match=r"vanilla: `model` must be .*MLP, got CP"):
        BASELINES["vanilla"](problem, CP(rank=2))
    with pytest.raises(ValueError, match=r"causal_pinn: .* needs pinns\.Initial"):
        BASELINES["causal_pinn"](problem)
