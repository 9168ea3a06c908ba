"""Continuing equals never having stopped."""

import jax
import numpy as np
import optax
import pytest

from pinns import CP, load, problems, resume, solve
from pinns.resume import saved_key


PROBLEM = problems.poisson(dimension=1)
MODEL = CP(rank=2, hidden=(4,))


def run(steps, **options):
    arguments = {"points": 6, "key": jax.random.key(3), **options}
    return solve(PROBLEM, MODEL, "adam", steps=steps, **arguments)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a.params, b.params)
    jax.tree.map(np.testing.assert_array_equal, a.optimizer_state, b.optimizer_state)
    np.testing.assert_array_equal(a.history.loss, b.history.loss)
    assert a.step == b.step
    assert a.settings == b.settings


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 3e-3},
        {"redraw_every": 3, "sampling": "stratified"},
        {"sampling": {"x1": "chebyshev"}, "dtype": "float64"},
        {"key": jax.random.key(1, impl="rbg")},
    ],
    ids=["rate", "redraw", "float64", "rbg"],
)
def test_resumed_run_is_the_straight_run(options, tmp_path):
    straight = run(8, **options)
    stopped = run(5, **options)
    assert_same(resume(stopped, 3), straight)
    assert_same(resume(load(stopped.save(tmp_path / "run")), 3), straight)


def test_the_reason_for_the_method_is_kept():
    stopped = run(1)
    stopped.settings["reason"] = "it was the best"
    assert resume(stopped, 1).settings["reason"] == "it was the best"


def test_given_solution_is_left_as_it_is():
    stopped = run(5)
    before = jax.tree.map(np.array, stopped.params)
    resume(stopped, 2)
    assert (stopped.step, stopped.history.loss.size) == (5, 5)
    jax.tree.map(np.testing.assert_array_equal, stopped.params, before)


def test_arguments_take_the_place_of_the_saved_ones():
    more = resume(
        run(2), 2, points=7, sampling="stratified", redraw_every=1,
        learning_rate=1e-4, key=jax.random.key(9),
    ).settings  # fmt: skip
    assert (more["points"], more["sampling"]) == ([7], ["stratified"])
    assert (more["redraw_every"], more["learning_rate"]) == (1, 1e-4)
    assert more["key"] == [0, 9]


def test_saved_key_is_the_key():
    key = jax.random.key(2**31 + 5)
    settings = {"key": jax.random.key_data(key), "key_impl": "threefry2x32"}
    assert (saved_key(settings) == key).all()


def test_schedule_goes_on(tmp_path):
    rate = optax.exponential_decay(1e-2, 2, 0.5)
    straight = run(6, learning_rate=rate)
    assert_same(resume(run(4, learning_rate=rate), 2, learning_rate=rate), straight)


def test_optimizer_of_ones_own_goes_on(tmp_path):
    optimizer = optax.sgd(1e-3, momentum=0.9)
    straight = run(6, optimizer=optimizer)
    stopped = run(4, optimizer=optimizer)
    assert_same(resume(stopped, 2, optimizer=optimizer), straight)
    loaded = load(stopped.save(tmp_path / "run"), optimizer=optimizer)
    assert_same(resume(loaded, 2, optimizer=optimizer), straight)


def test_optimizer_of_ones_own_is_asked_for():
    stopped = run(2, optimizer=optax.sgd(1e-3))
    with pytest.raises(ValueError, match=r"the run used an optimizer or a"):
        resume(stopped, 2)


def test_other_optimizer_is_refused():
    message = (
        r"pinns.resume: `optimizer` .* must be of the kind used so far, whose state"
    )
    with pytest.raises(ValueError, match=message):
        resume(run(2), 2, optimizer=optax.sgd(1e-3, momentum=0.9))
    with pytest.raises(ValueError, match=message):
        resume(run(2), 2, learning_rate=optax.constant_schedule(1e-3))


def test_missing_state_is_refused(tmp_path):
    stopped = run(2, optimizer=optax.sgd(1e-3, momentum=0.9))
    loaded = load(stopped.save(tmp_path / "run"))  # without its optimizer
    with pytest.raises(ValueError, match="carries no optimizer state"):
        resume(loaded, 2, learning_rate=1e-3)


@pytest.mark.parametrize("method", ["direct", "als"])
def test_methods_without_steps_are_refused(method, tmp_path):
    problem = problems.poisson(dimension=2)
    key = jax.random.key(0) if method == "als" else None
    options = {"size": 8} if method == "direct" else {"steps": 2, "size": 8}
    solution = solve(problem, method=method, key=key, **options)
    assert solution.at(np.zeros((0, 2))).shape == (0,)
    solution = load(solution.save(tmp_path))
    with pytest.raises(ValueError, match=f"by method='{method}' has no steps"):
        resume(solution, 3)
