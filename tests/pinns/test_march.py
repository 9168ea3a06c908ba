"""Marching in windows: accuracy, evaluation across windows, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns


LINE = pinns.Box(t=(0.0, 3.0))


def decay(**options):
    """u' = -u^2 with u(0) = 1: an ordinary equation, nonlinear."""
    return pinns.Problem(
        LINE,
        lambda u: u.d("t") + u**2,
        [pinns.Initial("t", 1.0, **options)],
        exact=lambda t: 1.0 / (1.0 + t),
    )


@pytest.fixture(scope="module")
def wave():
    """Second order in time: value and velocity are handed on."""
    problem = pinns.problems.wave1d()
    return pinns.march(problem, method="direct", size=(14, 20), windows=3)


def test_wave(wave):
    assert wave.result == "finished"
    assert wave.edges == pytest.approx((0.0, 2 / 3, 4 / 3, 2.0))
    assert len(wave.windows) == 3
    assert wave.relative_l2(60) < 1e-8
    assert wave.linf(60) < 1e-7
    # Seven times as many functions as one window has would be needed otherwise.
    whole = pinns.solve(wave.problem, method="direct", size=(14, 20))
    assert wave.relative_l2(60) < 1e-2 * whole.relative_l2(60)
    assert wave.residual_rms() < 1e-4
    assert set(wave.timings) == {"build_seconds", "compile_seconds", "solve_seconds"}
    assert "Marched(wave1d, 3 windows along 't', finished)" in repr(wave)


def test_grid_and_scattered_values_and_derivatives(wave):
    t, x = np.linspace(2.0, 0.0, 7), np.linspace(0.0, 1.0, 5)
    grid = np.stack(np.meshgrid(t, x, indexing="ij"), axis=-1)
    values = np.asarray(wave(t, x))
    assert values.shape == (7, 5)
    assert values.dtype == "float64"
    np.testing.assert_allclose(values, wave.at(grid), rtol=0.0, atol=1e-12)
    c = np.pi
    (exact,) = wave.problem.exact
    with jax.enable_x64(True):
        expected = exact(t[:, None], x[None, :])
    np.testing.assert_allclose(values, expected, rtol=0.0, atol=1e-5)
    speed = -c * np.sin(c * t)[:, None] * np.sin(np.pi * x)
    speed = speed + 1.5 * c * np.cos(3 * c * t)[:, None] * np.sin(3 * np.pi * x)
    for found in (wave.d("t")(t, x), wave.d("t").at(grid), wave["u"].d("t")(t, x)):
        np.testing.assert_allclose(found, speed, rtol=0.0, atol=1e-4)
    twice = wave.d("x").d("x")(t, x)
    np.testing.assert_allclose(twice, wave.d("x", 2)(t, x), rtol=0.0, atol=1e-9)
    np.testing.assert_allclose(wave(1.9, x), wave(np.array([1.9]), x)[0], atol=1e-12)
    assert np.shape(wave(t, 0.5)) == (7,)
    assert np.shape(wave(0.5, 0.5)) == ()


def test_edges_belong_to_the_later_window(wave):
    times = np.array([0.0, wave.edges[1] - 1e-9, wave.edges[1], 2.0])
    assert wave.window_of(times).tolist() == [0, 0, 1, 2]


def test_inside_transformations(wave, x64):
    t, x = jnp.linspace(0.0, 2.0, 9), jnp.linspace(0.0, 1.0, 4)
    inside = jax.jit(lambda t, x: wave(t, x))(t, x)
    np.testing.assert_allclose(inside, wave(t, x), rtol=0.0, atol=1e-13)
    one = jax.jit(lambda t: wave(t, x))(t[5])
    np.testing.assert_allclose(one, wave(t, x)[5], rtol=0.0, atol=1e-13)
    points = jnp.stack([t, t / 2], axis=-1)
    inside = jax.jit(wave.at)(points)
    np.testing.assert_allclose(inside, wave.at(points), rtol=0.0, atol=1e-13)
    slope = jax.grad(lambda t: wave.at(jnp.stack([t, 0.3])))(1.7)
    expected = wave.d("t").at(np.array([1.7, 0.3]))
    np.testing.assert_allclose(slope, expected, rtol=0.0, atol=1e-9)


def test_heat_in_two_dimensions():
    problem = pinns.problems.heat2d()
    found = pinns.march(problem, method="direct", size=(10, 16, 20), windows=2)
    assert found.relative_l2(20) < 1e-5


def test_newton_in_unequal_windows():
    found = pinns.march(decay(), method="newton", size=9, windows=[0.3, 1.0])
    assert found.edges == (0.0, 0.3, 1.0, 3.0)
    assert found.result == "converged"
    assert found.relative_l2() < 1e-6
    whole = pinns.solve(decay(), method="newton", size=9)
    assert found.relative_l2() < 0.1 * whole.relative_l2()


def test_windows_share_what_was_compiled():
    """Later windows only run: no program is built for them."""
    problem = pinns.problems.burgers1d(viscosity=0.1)
    found = pinns.march(problem, method="newton", size=(8, 24), windows=4)
    seconds = [w.timings["compile_seconds"] for w in found.windows]
    assert max(seconds[2:]) < 0.2 * seconds[0]
    assert len(found.windows[-1].problem.window.programs) <= 4
    assert found.relative_l2(40) < 1e-3
    report = found.windows[-1].settings["report"]
    assert report["misfit"]["initial(t)"] < 1e-12
    # The same as windows that are traced and compiled one by one, by another method.
    x = np.linspace(-1.0, 1.0, 9)
    before, after = found.windows[1], found.windows[2]
    np.testing.assert_allclose(before(0.5, x), after(0.5, x), rtol=0.0, atol=1e-12)


def test_velocities_are_handed_on_by_newton():
    """u'' = -sin(u): a pendulum, against one window."""
    problem = pinns.Problem(
        LINE,
        lambda u: u.d("t", 2) + jnp.sin(u),
        [pinns.Initial("t", 1.0), pinns.Initial("t", 0.5, order=1)],
    )
    found = pinns.march(problem, method="newton", size=12, windows=3)
    whole = pinns.solve(problem, method="newton", size=30)
    t = np.linspace(0.0, 3.0, 13)
    np.testing.assert_allclose(found(t), whole(t), rtol=0.0, atol=1e-8)
    np.testing.assert_allclose(found.d("t")(t), whole.d("t")(t), rtol=0.0, atol=1e-6)


def test_windows_without_convergence_are_halved():
    """u' = u^2 with u(0) = 1: Newton's method from u = 1 needs short windows."""
    problem = pinns.Problem(
        pinns.Box(t=(0.0, 0.97)),
        lambda u: u.d("t") - u**2,
        [pinns.Initial("t", 1.0)],
        exact=lambda t: 1.0 / (1.0 - t),
    )
    with pytest.raises(pinns.NotConvergedError):
        pinns.solve(problem, method="newton", size=14)
    found = pinns.march(problem, method="newton", size=14, windows=1)
    assert found.result == "converged"
    assert len(found.windows) > 1
    assert found.edges[0] == 0.0
    assert found.edges[-1] == 0.97
    assert found.relative_l2() < 1e-2


@pytest.mark.filterwarnings("ignore:pinns.solve_newton")  # not resolved, on purpose
def test_trained_models(key):
    """Each window is trained with a key of its own, from where the last one ended."""
    model = pinns.CP(rank=2, hidden=(8,))
    found = pinns.march(
        decay(), model, "ssbroyden", points=12, steps=60, windows=2, key=key
    )
    settings = [w.settings["key"] for w in found.windows]
    assert settings[0] != settings[1]
    assert found.relative_l2() < 1e-2
    first, second = found.windows
    gap = abs(float(first(1.5)) - float(second(1.5)))
    assert gap < 1e-3


def test_causal_weights_in_windows(key):
    found = pinns.march(
        decay(),
        pinns.CP(rank=1, hidden=(2,)),
        "adam",
        points=6,
        steps=3,
        weighting="causal",
        windows=2,
        key=key,
    )
    names = [w.settings["weighting"]["name"] for w in found.windows]
    assert names == ["causal", "causal"]
    assert found.result == "finished"


def test_several_unknowns():
    """u' = v, v' = -u: sine and cosine."""
    problem = pinns.Problem(
        LINE,
        lambda u, v: (u.d("t") - v, v.d("t") + u),
        [pinns.Initial("t", 0.0, unknown="u"), pinns.Initial("t", 1.0, unknown="v")],
        unknowns=("u", "v"),
        exact={"u": lambda t: jnp.sin(t), "v": lambda t: jnp.cos(t)},
    )
    options = {"points": 12, "steps": 60, "key": jax.random.key(1)}
    found = pinns.march(
        problem, pinns.CP(rank=2, hidden=(8,)), "ssbroyden", windows=2, **options
    )
    errors = found.relative_l2()
    assert set(errors) == {"u", "v"}
    assert max(errors.values()) < 5e-2
    values = found(np.linspace(0, 3, 5))
    assert {name: v.shape for name, v in values.items()} == {"u": (5,), "v": (5,)}
    assert found["v"].d("t")(0.3).shape == ()
    with pytest.raises(ValueError, match=r"Marched.d: there are several unknowns"):
        found.d("t")
    with pytest.raises(ValueError, match=r"the unknowns are \(u, v\), got 'w'"):
        found["w"]


def test_a_failure_ends_the_march():
    """u' = u^2 explodes at t = 1; the first window ends before."""
    problem = pinns.Problem(
        pinns.Box(t=(0.0, 2.0)), lambda u: u.d("t") - u**2, [pinns.Initial("t", 1.0)]
    )
    options = {"method": "newton", "size": 14, "windows": [0.5]}
    with pytest.raises(pinns.NotConvergedError):
        pinns.march(problem, **options)
    found = pinns.march(problem, throw=False, **options)
    assert found.result.startswith("not_converged: ")
    np.testing.assert_allclose(found(0.25), 4 / 3, rtol=1e-8)


def wrong(conditions):
    return pinns.Problem(
        pinns.Box(t=(0.0, 1.0), x=(0.0, 1.0)),
        lambda u: u.d("t") - u.d("x", 2),
        conditions,
    )


START = pinns.Initial("t", 0.0)
REFUSED = [
    (decay(), {"windows": 0}, "`windows` must be a positive integer, got 0"),
    (decay(), {"windows": [2.0, 1.0]}, r"ascending inner edges in \(0, 3\), got \[2"),
    (decay(), {"windows": [3.0]}, r"ascending inner edges in \(0, 3\), got \[3"),
    (decay(), {"windows": ["a"]}, r"ascending inner edges in \(0, 3\), got \['a'\]"),
    (decay(), {"windows": 2, "axis": "x"}, "unknown axis 'x', the axes are t"),
    (decay(), {"windows": 2, "checkpoint": "a"}, "`checkpoint` belongs to one solve"),
    (
        decay(),
        {"windows": 2, "cluster": {"t": (1, 1)}},
        "`cluster` must name axes of s",
    ),
    (decay(), {"windows": 2, "method": "fast"}, "`method` must be one of auto"),
    (wrong([pinns.Dirichlet(0.0, "x")]), {"windows": 2}, "have an Initial condition"),
    (wrong([START, pinns.Dirichlet(0.0)]), {"windows": 2}, "'t' must be Initial, got"),
    (
        wrong([START, pinns.Data(np.zeros((1, 2)), np.zeros(1))]),
        {"windows": 2},
        "must have no Data conditions, .* got 'data'",
    ),
]


@pytest.mark.parametrize(("problem", "options", "message"), REFUSED)
def test_wrong_arguments_are_refused(problem, options, message):
    with pytest.raises(ValueError, match=message):
        pinns.march(problem, **{"method": "newton", **options})


def test_wrong_problems_and_points_are_refused(wave):
    with pytest.raises(TypeError, match=r"`problem` must be a pinns.Problem, got 3"):
        pinns.march(3, windows=2)
    with pytest.raises(ValueError, match=r"expected 2 coordinates \(t, x\), got 1"):
        wave(0.0)
    with pytest.raises(ValueError, match=r"'t' must be a number or a 1-D.*\(2, 2\)"):
        wave(np.zeros((2, 2)), 0.0)
    with pytest.raises(ValueError, match=r"shape \(..., 2\) with .* got \(4, 3\)"):
        wave.at(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="unknown axis 'z'"):
        wave.d("z")
    bare = pinns.Problem(LINE, lambda u: u.d("t") + u, [pinns.Initial("t", 1.0)])
    found = pinns.march(bare, method="direct", size=8, windows=2)
    with pytest.raises(ValueError, match=r"`Marched.relative_l2` needs an exact"):
        found.relative_l2()


def test_hard_initial_conditions_are_refused(key):
    with pytest.raises(ValueError, match="Initial conditions must be soft"):
        pinns.march(decay(hard=True), method="newton", size=6, windows=2, key=key)
