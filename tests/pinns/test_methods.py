"""Every method through `solve`: results, the automatic choice, and refusals."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns.cli import main
from pinns.settings import METHODS, default_points


KEY = jax.random.key(0)
POISSON = pinns.problems.poisson(dimension=2)
SMALL = pinns.CP(rank=2, hidden=(6,))
BASIS = pinns.CP(rank=2, network="legendre", hidden=(6,))


def nonlinear():
    box = pinns.Box(x=(0.0, 1.0))
    return pinns.Problem(box, lambda u, x: u.d("x") + u**2, [pinns.Initial("x", 1.0)])


def measured():
    data = pinns.Data(np.array([[0.5]]), np.array([1.0]))
    box = pinns.Box(x=(0.0, 1.0))
    return pinns.Problem(
        box, lambda u, x: u.d("x") + u, [pinns.Initial("x", 1.0), data]
    )


def not_separable():
    box = pinns.Box(x=(0.0, 1.0))
    return pinns.Problem(
        box, lambda u: u.d("x") + jnp.sin(u), [pinns.Initial("x", 1.0)]
    )


@pytest.mark.parametrize(
    ("method", "model", "options", "error"),
    [
        ("adam", SMALL, {"steps": 30, "points": 8, "learning_rate": 1e-2}, 0.9),
        ("lbfgs", SMALL, {"steps": 100, "points": 12}, 1e-2),
        ("ssbroyden", SMALL, {"steps": 100, "points": 12}, 1e-2),
        ("gauss_newton", SMALL, {"steps": 10, "points": 12}, 1e-1),
        ("varpro", SMALL, {"steps": 20, "points": 12}, 1e-2),
        ("als", None, {"steps": 40, "points": 12, "size": 8}, 1e-5),
        ("direct", None, {}, 1e-10),
    ],
)
def test_every_method_solves(method, model, options, error, tmp_path):
    solution = pinns.solve(POISSON, model, method, key=KEY, **options)
    assert solution.settings["method"] == method
    assert solution.settings["reason"] == "as asked"
    assert solution.relative_l2() < error
    assert solution.dtype == ("float32" if method == "adam" else "float64")
    assert set(solution.timings) >= {"build_seconds", "compile_seconds"}
    loaded = pinns.load(solution.save(tmp_path))
    x = np.linspace(0.0, 1.0, 5)
    np.testing.assert_array_equal(loaded(x, x), solution(x, x))
    assert loaded.settings == solution.settings


@pytest.mark.parametrize(
    ("make", "model", "options", "method", "reason"),
    [
        (lambda: POISSON, None, {}, "direct", "linear and separable in 2 axes"),
        (lambda: POISSON, None, {"points": 8}, "als", "linear and separable"),
        (nonlinear, None, {}, "ssbroyden", "nonlinear, no model given"),
        (not_separable, None, {}, "ssbroyden", "not separable, no model given"),
        (measured, None, {"points": 8}, "ssbroyden", "measured data, no model given"),
        (measured, BASIS, {}, "ssbroyden", "a separable residual"),
        (lambda: POISSON, SMALL, {}, "ssbroyden", "a separable residual"),
        (lambda: POISSON, pinns.CP(rank=48), {}, "lbfgs", "a separable residual; 1"),
        (lambda: POISSON, BASIS, {}, "als", "fixed bases"),
        (
            lambda: POISSON,
            SMALL,
            {"learning_rate": 1e-3},
            "adam",
            "learning_rate given",
        ),
        (lambda: POISSON, pinns.MLP((4,)), {}, "adam", "no factors"),
        (not_separable, SMALL, {}, "adam", "'residual' is not separable"),
        (nonlinear, pinns.CP(rank=32), {}, "adam", "unknowns of a large rank"),
    ],
)
def test_the_automatic_choice_and_its_reason(make, model, options, method, reason):
    if method not in ("direct",):
        options = {"steps": 1, **options} if model is not None else options
    if model is None and method != "direct":
        options = {**options, "steps": 1}
    solution = pinns.solve(make(), model, key=KEY, **options)
    assert solution.settings["method"] == method
    assert reason in solution.settings["reason"]


def test_a_direct_solve_needs_no_key():
    assert pinns.solve(POISSON).relative_l2() < 1e-10


def test_grid_and_factored_losses_train_alike():
    runs = [
        pinns.solve(
            POISSON, SMALL, "adam", points=8, steps=30, key=KEY, loss=loss,
            dtype="float64",
        )
        for loss in ("grid", "factored", "orthogonalized")
    ]  # fmt: skip
    grid, *others = (run.history for run in runs)
    for other in others:
        np.testing.assert_allclose(other.loss, grid.loss, rtol=1e-9)
        np.testing.assert_allclose(other.groups, grid.groups, rtol=1e-8)
    assert runs[2].settings["loss"] == "orthogonalized"


def test_terms_on_the_grid_join_factored_ones():
    problem = pinns.problems.klein_gordon()
    model = pinns.CP(rank=24, hidden=(4,))
    runs = [
        pinns.solve(
            problem, model, "adam", points=10, steps=3, key=KEY, loss=loss,
            dtype="float64",
        )
        for loss in ("grid", "auto")
    ]  # fmt: skip
    assert list(runs[1].settings["grid_terms"]) == ["residual"]
    assert "products of unknowns have rank 576" in str(runs[1].settings["grid_terms"])
    np.testing.assert_allclose(runs[1].history.loss, runs[0].history.loss, rtol=1e-10)


def test_float32_says_when_its_loss_is_noise():
    model = pinns.CP(rank=1, network="legendre", hidden=(8,))
    box = pinns.Box(x=(0.0, 1.0))
    problem = pinns.Problem(box, lambda u, x: u.d("x") - 2.0 * x, [pinns.Initial("x")])
    options = {"points": 8, "steps": 400, "key": KEY}
    with pytest.warns(
        UserWarning, match=r"rounding floor .* in float32 .* or loss='orthogonalized'"
    ):
        noisy = pinns.solve(problem, model, "ssbroyden", dtype="float32", **options)
    options["loss"] = "orthogonalized"
    with pytest.warns(UserWarning, match=r"residual; dtype='float64' lowers the floor"):
        clean = pinns.solve(problem, model, "ssbroyden", dtype="float32", **options)
    assert 0.0 <= clean.history.loss[-1] < 1e-4 * abs(noisy.history.loss).min()


def test_quasi_newton_runs_go_on(tmp_path):
    options = {"points": 12, "key": KEY}
    first = pinns.solve(POISSON, SMALL, "ssbroyden", steps=30, **options)
    loaded = pinns.load(first.save(tmp_path))
    second = pinns.resume(loaded, 30)
    assert second.step == first.step + 30
    assert second.history.loss[-1] < first.history.loss[-1]
    assert second.settings["method"] == "ssbroyden"
    alternating = pinns.solve(POISSON, BASIS, "als", steps=2, **options)
    with pytest.raises(ValueError, match="method='als' has no steps to go on with"):
        pinns.resume(alternating, 2)


def test_default_points_grow_with_the_networks():
    wide = pinns.CP(rank=2, hidden=(40,))
    assert default_points(POISSON, wide, "ssbroyden") == 120
    assert default_points(POISSON, SMALL, "ssbroyden") == 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "lbfgs", "learning_rate": 0.1},
            "`learning_rate` belongs to method",
        ),
        ({"method": "ssbroyden", "redraw_every": 5}, "`redraw_every` belongs to"),
        (
            {"loss": "exact"},
            "`loss` must be one of auto, factored, orthogonalized, grid, got 'exact'",
        ),
        (
            {"method": "als", "model": BASIS, "loss": "orthogonalized"},
            "loss='orthogonalized' belongs to method='adam' or .* method='als'",
        ),
        (
            {"model": pinns.MLP((4,)), "loss": "orthogonalized"},
            "loss='orthogonalized' needs a separable model, .* got a pointwise",
        ),
        ({"method": "direct"}, "makes its own model of `basis` and `size`"),
        ({"method": "direct", "model": None, "points": 5}, "has no `points`"),
        ({"method": "adam", "basis": "legendre"}, "`basis` belongs to method='als'"),
        ({"method": "lbfgs", "starts": 3}, "`starts` belongs to method='als'"),
        ({"method": "als", "basis": "legendre"}, "give either them or a `model`"),
        ({"method": "als", "model": None, "basis": "sines"}, "`basis` must be one of"),
        ({"method": "als", "model": None, "size": 0}, "`size` must be a positive"),
        ({"method": "als", "model": BASIS, "starts": 0}, "`starts` must be a positive"),
        (
            {"method": "als", "model": pinns.Tucker(2)},
            "is for pinns.CP and TensorTrain",
        ),
        ({"method": "varpro", "loss": "grid"}, "works on factored residuals only"),
        ({"method": "ssbroyden", "model": pinns.MLP((4,))}, "needs a separable model"),
        (
            {"model": pinns.MLP((4,)), "loss": "factored"},
            "needs a separable model, points that stay .* got a pointwise",
        ),
        (
            {"method": "adam", "redraw_every": 2, "loss": "factored"},
            "points that stay the same, .* got redrawn points",
        ),
    ],
)
def test_bad_input(options, message):
    options = {"model": SMALL, "key": KEY, **options}
    with pytest.raises(ValueError, match=message):
        pinns.solve(POISSON, **options)


@pytest.mark.parametrize("method", ["gauss_newton", "varpro"])
def test_factored_methods_name_the_term_that_prevents_them(method):
    with pytest.raises(ValueError, match="'sin' is applied to an unknown"):
        pinns.solve(not_separable(), SMALL, method, key=KEY)


@pytest.mark.parametrize("method", ["als", "direct", "varpro"])
def test_linear_methods_name_the_term_that_multiplies_unknowns(method):
    model = SMALL if method == "varpro" else None
    with pytest.raises(ValueError, match="residual"):
        pinns.solve(nonlinear(), model, method, key=KEY)


def test_the_command_line_reaches_the_methods(capsys):
    line = ["solve", "poisson", "-p", "dimension=2", "--json"]
    for more, method, error in [
        (["--method", "direct", "--basis", "legendre", "--size", "14"], "direct", 1e-9),
        (["--method", "als", "--size", "7", "--starts", "2"], "als", 1e-4),
        ([], "direct", 1e-9),
    ]:
        assert main([*line, *more]) == 0
        record = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert record["method"] == method
        assert record["relative_l2"] < error


def test_all_methods_are_described():
    assert all(text for text in METHODS.values())
