"""`pinns.solve(weighting=)`: what it keeps, how it goes on, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pinns
from pinns import CP, MLP, Box, Dirichlet, Initial, Problem
from pinns.cli import main
from pinns.weighting import SCHEMES, Causal, GradientNorm, SelfAdaptive


BOX = Box(t=(0.0, 1.0), x=(0.0, 1.0))
KEY = jax.random.key(0)
MODEL = CP(rank=3, hidden=(6,))


def exact(t, x):
    return jnp.exp(-t) * jnp.sin(jnp.pi * x)


def heat(conditions=None):
    def residual(u, t, x):
        return u.d("t") - u.d("x", 2) / jnp.pi**2

    default = [Initial("t", exact), Dirichlet(0.0, axes="x")]
    return Problem(BOX, residual, default if conditions is None else conditions)


def run(model=MODEL, the_problem=None, **options):
    options = {"points": (6, 4), "steps": 12, "key": KEY, **options}
    return pinns.solve(the_problem or heat(), model, **options)


def equal(a, b):
    return all(
        np.array_equal(p, q)
        for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.parametrize("name", SCHEMES)
def test_saved_runs_go_on_exactly(name, tmp_path):
    whole = run(weighting=name)
    half = run(weighting=name, steps=7)
    assert whole.settings["method"] == "adam"
    assert whole.settings["reason"] == "weighting given"
    assert whole.settings["loss"] == "grid"
    assert whole.settings["weighting"]["name"] == name
    loaded = pinns.load(half.save(tmp_path), heat())
    rest = pinns.resume(loaded, 5)
    assert rest.settings["weighting"] == whole.settings["weighting"]
    assert equal(rest.params, whole.params)
    assert equal(rest.optimizer_state, whole.optimizer_state)


def test_history_holds_the_weighted_loss_and_plain_mean_squares():
    kind = GradientNorm(every=10**6, decay=0.5)
    solution = run(weighting=kind, steps=3)
    weights = np.asarray(solution.optimizer_state.weighting)
    assert not np.allclose(weights, 1.0)
    expected = solution.history.groups @ weights
    np.testing.assert_allclose(solution.history.loss, expected, rtol=1e-5)
    plain = run(method="adam", loss="grid", steps=1)
    np.testing.assert_allclose(
        solution.history.groups[0], plain.history.groups[0], rtol=1e-5
    )


def test_self_adaptive_weights_of_a_solution_have_risen():
    solution = run(weighting="self_adaptive")
    weights = jax.tree.leaves(solution.optimizer_state.weighting.terms)
    assert min(float(w.min()) for w in weights) > 1.0


def test_pointwise_networks_have_a_weight_per_point():
    solution = run(MLP((6,)), weighting="self_adaptive")
    weighting = solution.optimizer_state.weighting
    assert [w.shape for (w,) in weighting.terms] == [(6, 4), (1, 4), (6, 2)]


def test_causal_training_can_end_by_itself():
    solution = run(weighting=Causal(epsilon=1e-6, stop=True))
    assert (solution.result, solution.step) == ("converged", 1)
    assert run(weighting=Causal(epsilon=1e-6), steps=3).step == 3


@pytest.mark.parametrize("name", ["causal", "self_adaptive"])
def test_two_devices_equal_one(name):
    one = run(weighting=name, dtype="float64")
    two = run(weighting=name, dtype="float64", devices=2)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params),
                    strict=True):  # fmt: skip
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_causal_weights_along_a_named_axis_need_no_initial_condition():
    """With the time named nothing changes; without conditions on it, L_0 is zero."""
    options = {"weighting": Causal(epsilon=2.0, axis="t"), "steps": 3}
    named, found = run(**options), run(weighting=Causal(epsilon=2.0), steps=3)
    np.testing.assert_array_equal(named.history.loss, found.history.loss)
    free = run(the_problem=heat(NO_TIME), **options)
    assert free.settings["weighting"]["axis"] == "t"
    assert free.history.loss[0] < free.history.groups[0].sum()


def test_redrawn_points_and_own_optimizers_are_fine():
    options = {"optimizer": optax.sgd(1e-3), "redraw_every": 5}
    assert np.isfinite(run(weighting="causal", **options).history.loss).all()


NO_TIME = [Dirichlet(0.0)]
TWO_TIMES = [Initial("t", 0.0), Initial("x", 0.0)]
BAD = [
    ({"weighting": "fair"}, "`weighting` must be one of self_adaptive, .* got 'fair'"),
    (
        {"weighting": "ntk", "method": "lbfgs"},
        "`weighting` belongs to method='adam', got 'ntk' with method='lbfgs'",
    ),
    (
        {"weighting": "ntk", "loss": "factored"},
        "loss='factored' needs .* no weighting, got weighting='ntk'",
    ),
    (
        {"weighting": "causal", "the_problem": heat(NO_TIME)},
        r"weighting='causal' needs pinns.Initial .* got dirichlet\(t, x\)",
    ),
    (
        {"weighting": Causal(axis="z")},
        "`axis` of weighting='causal': unknown axis 'z', the axes are t, x",
    ),
    (
        {"weighting": "causal", "the_problem": heat([])},
        "needs pinns.Initial conditions on one axis, .* got none",
    ),
    (
        {"weighting": "causal", "the_problem": heat(TWO_TIMES)},
        r"on one axis, .* got initial\(t\), initial\(x\)",
    ),
    (
        {"weighting": "self_adaptive", "redraw_every": 2},
        "weight for every point, and `redraw_every` must be None, got 2",
    ),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


def test_wrong_type():
    with pytest.raises(TypeError, match=r"`weighting` must be a name.* got 1"):
        run(weighting=1)


def test_start_must_have_the_same_weighting_and_points():
    start = run(weighting="relobralo", steps=1)
    with pytest.raises(ValueError, match=r"`weighting` must be that of `start`, Relo"):
        run(method="adam", start=start)
    with pytest.raises(ValueError, match=r"`points` must be those of `start`.* \[6, 4"):
        run(weighting="relobralo", points=(4, 4), start=start)
    again = run(weighting=SelfAdaptive(learning_rate=0.1), steps=1)
    with pytest.raises(ValueError, match="`weighting` must be that of `start`"):
        run(weighting="self_adaptive", start=again)


def test_command_line(capsys):
    line = ["solve", "wave1d", "--rank", "2", "--hidden", "4", "--points", "5"]
    assert main([*line, "--steps", "3", "--weighting", "causal"]) == 0
    assert main([*line, "--weighting", "fair"]) == 2
    assert "`weighting` must be one of" in capsys.readouterr().err
