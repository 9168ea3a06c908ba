"""`solve`: what it returns, how it continues, how it ends, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pinns
from pinns import CP, MLP, Box, Data, Dirichlet, Periodic, Problem, TensorTrain, Tucker


BOX = Box(x=(0.0, 1.0), y=(0.0, 2.0))
KEY = jax.random.key(0)
MODEL = CP(rank=4, hidden=(8,))


def exact(x, y):
    return jnp.sin(jnp.pi * x) * jnp.cos(y)


def problem(**options):
    def residual(u, x, y):
        source = -(jnp.pi**2 + 1) * exact(x, y)
        return u.d("x", 2) + u.d("y", 2) - source

    return Problem(BOX, residual, [Dirichlet(exact)], exact=exact, **options)


def run(model=MODEL, the_problem=None, **options):
    options = {"points": 8, "steps": 20, "key": KEY, "method": "adam", **options}
    return pinns.solve(the_problem or problem(), model, **options)


def leaves(solution):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(solution.params)]


def equal(a, b):
    return all(np.array_equal(p, q) for p, q in zip(leaves(a), leaves(b), strict=True))


def test_history_and_timings():
    solution = run(steps=25)
    history = solution.history
    assert solution.result == "finished"
    assert solution.step == 25
    assert history.steps.tolist() == list(range(1, 26))
    np.testing.assert_allclose(history.groups.sum(axis=1), history.loss, rtol=1e-5)
    assert history.names == ("residual", "dirichlet(x, y)")
    assert history.loss[-1] < history.loss[0]
    assert history.error_steps[-1] == 25
    assert solution.timings["solve_seconds"] > 0
    assert set(solution.timings) == {
        "build_seconds", "compile_seconds", "solve_seconds", "steps_per_second",
    }  # fmt: skip


def test_steps_are_those_of_optax_adam():
    """Five steps by hand on the same loss and points."""
    solution = run(steps=5, learning_rate=0.01)
    loss = pinns.losses.GridLoss(problem(), MODEL, (8, 8))
    key_points, key_params = jax.random.split(KEY)
    points = BOX.points(8, key=jax.random.fold_in(key_points, 0))
    prepared = loss.prepare(points)
    params = MODEL.init(key_params, BOX)
    optimizer = optax.adam(0.01)
    state = optimizer.init(params)
    gradient = jax.jit(jax.grad(lambda p: loss(p, prepared)[0]))
    for _ in range(5):
        updates, state = optimizer.update(gradient(params), state, params)
        params = optax.apply_updates(params, updates)
    for a, b in zip(leaves(solution), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_same_key_same_result_and_continuing_is_exact():
    whole = run(steps=30)
    half = run(steps=15)
    rest = run(steps=15, start=half)
    assert equal(whole, rest)
    assert rest.step == 30
    assert rest.history.steps.tolist() == list(range(1, 31))
    assert not equal(whole, run(steps=30, key=jax.random.key(1)))


def test_redraw_changes_points_at_the_stated_steps():
    fixed = run(steps=20, loss="grid")
    redrawn = run(steps=20, redraw_every=10)
    assert np.array_equal(fixed.history.loss[:10], redrawn.history.loss[:10])
    assert fixed.history.loss[10] != redrawn.history.loss[10]
    continued = run(steps=5, redraw_every=10, start=run(steps=15, redraw_every=10))
    assert equal(redrawn, continued)


@pytest.mark.parametrize(
    "options",
    [
        {"sampling": "gauss_legendre"},
        {"sampling": {"x": "chebyshev", "y": "stratified"}},
        {"points": (4, 12)},
        {"points": {"y": 5, "x": 4}},
        {"optimizer": optax.lbfgs(), "sampling": "gauss_legendre"},
        {"points": np.array([4, 6]), "learning_rate": np.float32(1e-3)},
        {"optimizer": optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1e-3))},
        {"learning_rate": optax.cosine_decay_schedule(1e-2, 20)},
        {"dtype": "float64"},
    ],
)
def test_options_run(options):
    solution = run(**options)
    assert np.isfinite(solution.history.loss).all()
    assert leaves(solution)[0].dtype == options.get("dtype", "float32")


@pytest.mark.parametrize("model", [TensorTrain(rank=3), Tucker(rank=3), MLP((8, 8))])
def test_every_model_learns(model):
    solution = run(model, steps=60, learning_rate=3e-3)
    assert solution.history.loss[-1] < solution.history.loss[0]


def test_hard_problem_in_float64_reaches_further():
    hard = Problem(
        BOX,
        lambda u, x, y: u.d("x", 2) + u.d("y", 2) + (jnp.pi**2 + 1) * exact(x, y),
        [Dirichlet(exact, hard=True)],
        exact=exact,
    )
    solution = run(the_problem=hard, steps=300, dtype="float64", learning_rate=3e-3)
    assert hard.groups == ("residual",)
    assert solution.relative_l2(20) < 0.1 * run(
        steps=300, learning_rate=3e-3
    ).relative_l2(20)


def test_systems_periodicity_and_data():
    box = Box(t=(0.0, 1.0), x=(0.0, 1.0))

    def residual(u, v, t, x):
        return u.d("t") - v.d("x"), v.d("t") - u.d("x")

    system = Problem(
        box,
        residual,
        [
            Periodic("x", unknown="u"),
            Periodic("x", unknown="v", order=0),
            Data([[0.0, 0.25]], [1.0], unknown="u"),
        ],
        unknowns=("u", "v"),
        exact={"u": lambda t, x: t, "v": lambda t, x: x},
    )
    solution = run(the_problem=system)
    values = solution(jnp.linspace(0, 1, 3), 0.5)
    assert set(values) == {"u", "v"}
    assert values["u"].shape == (3,)
    assert set(solution.relative_l2(8)) == {"u", "v"}
    assert solution["v"].d("x")(0.5, 0.5).shape == ()
    assert [r.shape for r in solution.residual()] == [(4096,), (4096,)]
    with pytest.raises(ValueError, match=r"several unknowns, pick one"):
        solution.d("x")
    with pytest.raises(ValueError, match=r"unknowns are \(u, v\), got 'w'"):
        solution["w"]


def test_one_dimension():
    line = Problem(
        Box(x=(0.0, 1.0)),
        lambda u, x: u.d("x", 2) + jnp.pi**2 * jnp.sin(jnp.pi * x),
        [Dirichlet(0.0)],
        exact=lambda x: jnp.sin(jnp.pi * x),
    )
    for model in (MODEL, TensorTrain(rank=4), Tucker(rank=4)):
        solution = run(model, the_problem=line)
        assert solution(jnp.linspace(0, 1, 5)).shape == (5,)
        assert np.isfinite(solution.relative_l2())


class TestNonFinite:
    """A loss that blows up stops with the last good parameters."""

    def blow_up(self, **options):
        # Steps of exp overflow: the parameters run away until exp(u) is infinite.
        wild = Problem(
            BOX, lambda u, x, y: jnp.exp(jnp.asarray(u)) + u.d("x"), [Dirichlet(50.0)]
        )
        optimizer = optax.sgd(-5.0)  # ascends on purpose
        return run(the_problem=wild, steps=200, optimizer=optimizer, **options)

    def test_raises_with_step_and_term(self):
        with pytest.raises(
            pinns.NonFiniteLossError, match=r"step \d+ gave .* in "
        ) as info:
            self.blow_up()
        solution = info.value.solution
        assert all(np.isfinite(leaf).all() for leaf in leaves(solution))
        assert solution.step == solution.history.steps[-1] - 1
        assert f"the parameters of step {solution.step} are kept" in str(info.value)

    def test_can_return_instead(self):
        solution = self.blow_up(throw=False)
        assert solution.result.split(": ")[0] == "non_finite"
        assert solution.result.split(": ")[1] in (*solution.problem.groups, "gradient")
        assert np.isfinite(solution.history.loss[:-1]).all()


def test_time_limit():
    solution = run(steps=10**7, seconds=0.3)
    assert solution.result == "time_limit"
    assert 0.3 <= solution.timings["solve_seconds"] < 3.0
    assert 0 < solution.step < 10**7


def test_interrupt_carries_the_solution(monkeypatch):
    def interrupt(self, *args):
        raise KeyboardInterrupt

    monkeypatch.setattr(pinns.progress.Progress, "update", interrupt)
    with pytest.raises(pinns.SolveInterrupted) as info:
        run(steps=1000)
    assert info.value.solution.result == "interrupted"
    assert info.value.solution.step > 0


def test_progress_bar_shows_loss_and_speed(capfd):
    run(progress=True)
    shown = capfd.readouterr().err
    assert "loss" in shown
    assert "error" in shown
    assert "it/s" in shown


BAD = [
    ({"key": None}, TypeError, r"`key` must be a typed random key .*got None"),
    ({"key": 0}, TypeError, "got 0"),
    ({"key": jax.random.split(KEY, 2)}, TypeError, "must be a typed random key"),
    ({"progress": "yes"}, TypeError, "`progress` must be True, False or None"),
    ({"method": "simplex"}, ValueError, "`method` must be one of auto.* 'simplex'"),
    ({"model": "cp"}, TypeError, "`model` must be pinns.CP.*got 'cp'"),
    ({"points": 0}, ValueError, r"`points\[x\]` must be a positive integer, got 0"),
    ({"points": (8, 1)}, ValueError, "at least 2 on every axis, got 1 on axis 'y'"),
    ({"points": (8,)}, ValueError, "one entry for each of the 2 axes"),
    (
        {"points": 10**6, "loss": "grid"}, ValueError,
        r"a grid of 1.0e\+12 values, more than 1e\+11; take fewer than 1000000",
    ),
    ({"steps": 0}, ValueError, "`steps` must be a positive integer, got 0"),
    ({"learning_rate": -1.0}, ValueError, "`learning_rate` must be a positive number"),
    ({"learning_rate": "fast"}, ValueError, "`learning_rate` must be a positive"),
    ({"optimizer": "adam"}, TypeError, "must be an optax.GradientTransformation"),
    (
        {"optimizer": optax.sgd(0.1), "learning_rate": 0.1}, ValueError, "got both",
    ),
    ({"seconds": 0}, ValueError, "`seconds` must be a positive number, got 0"),
    ({"dtype": "float16"}, ValueError, "`dtype` must be one of float32, float64"),
    ({"sampling": "grid"}, ValueError, "`sampling` must be one of"),
    ({"redraw_every": 0}, ValueError, "`redraw_every` must be a positive integer"),
    (
        {"redraw_every": 5, "sampling": "chebyshev"}, ValueError,
        "`redraw_every` needs a random `sampling`",
    ),
    ({"model": Tucker(rank=(2, 2, 2))}, ValueError, r"one per axis \(2 here\)"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "error", "message"), BAD)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        run(**options)


def test_bad_problem():
    with pytest.raises(TypeError, match=r"`problem` must be a pinns\.Problem, got 3"):
        pinns.solve(3, MODEL, key=KEY)


def test_start_must_fit():
    first = run()
    with pytest.raises(ValueError, match="`start` must be a solution of the same"):
        run(CP(rank=5), start=first)
    heat, other = (pinns.problems.heat2d(diffusivity=k) for k in (0.1, 0.9))
    with pytest.raises(ValueError, match=r"'diffusivity': 0\.1"):
        run(the_problem=other, start=run(the_problem=heat, points=4, steps=1))
    first.optimizer_state = None
    with pytest.raises(
        ValueError, match="carries no optimizer state to continue from; load"
    ):
        run(start=first)


@pytest.mark.parametrize("where", ["residual", "dirichlet"])
def test_non_finite_source_is_found_before_training(where):
    def bad(x, y):
        return 1.0 / (x - x) + y

    fine = problem().residual
    sources = {
        "residual": Problem(BOX, lambda u, x, y: u.d("x") - bad(x, y), []),
        "dirichlet": Problem(BOX, fine, [Dirichlet(bad)]),
    }
    with pytest.raises(ValueError, match=f"in '{where}.* is not finite"):
        run(the_problem=sources[where])


@pytest.mark.parametrize("loss", ["grid", "factored"])
def test_denominators_that_vanish_are_found_before_training(loss):
    bad = Problem(BOX, lambda u, x, y: u.d("x") / (0.0 * x) + u.d("y"), [])
    what = {"grid": "'residual' divides by a coordinate function that vanishes at x ="}
    message = what.get(loss, r"in 'residual' is not finite at x =")
    with pytest.raises(ValueError, match=message):
        run(the_problem=bad, loss=loss)


def test_guarded_denominators_are_no_zeros():
    """Of known functions only the values count, not how they were computed."""

    def ratio(x):
        return jnp.where(x == x, 1.0, x / (x - x))

    run(the_problem=Problem(BOX, lambda u, x, y: ratio(x) * u.d("x"), []), loss="grid")
