"""Singular values of known functions, by the grid and without it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns import CP, MLP, Box, Dirichlet, Problem, TensorTrain, Tucker, separability
from pinns.separability import numerical_rank
from pinns.solution import History, Solution


PLANE = Box(x=(0.0, 1.0), y=(0.0, 2.0))
SPACE = Box(x=(0.0, 1.0), y=(0.0, 2.0), z=(-1.0, 1.0))
METHODS = ("grid", "factored")
# Functions with known ranks: (box, function, Tucker ranks, tensor-train ranks).
KNOWN = {
    "sum": (PLANE, lambda x, y: jnp.sin(x + y), (2, 2), (2,)),
    "product": (PLANE, lambda x, y: jnp.exp(x * 3.0) * jnp.cos(y), (1, 1), (1,)),
    "constant": (PLANE, lambda x, y: 2.0, (1, 1), (1,)),
    "laplace": (SPACE, lambda x, y, z: x**2 + jnp.sin(y) + z, (2, 2, 2), (2, 2)),
    "pairs": (SPACE, lambda x, y, z: x * y + y * z + z * x, (2, 2, 2), (2, 2)),
    "two": (SPACE, lambda x, y, z: jnp.cos(x + z) * y, (2, 1, 2), (2, 2)),
    "line": (Box(x=(0.0, 1.0)), lambda x: x**2, (1,), ()),
}


def made(problem, model, dtype="float64"):
    with jax.enable_x64(dtype == "float64"):
        unknowns = len(problem.unknowns)
        key = jax.random.key(0)
        params = model.init(key, problem.box, unknowns=unknowns, dtype=dtype)
    history = History(problem.groups)
    return Solution(problem, model, params, dtype, history, "finished", 0, {}, {})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", KNOWN)
def test_known_ranks(name, method):
    box, function, tucker, train = KNOWN[name]
    found = separability(function, box, points=24, method=method)
    assert found.method == method
    assert found.tucker_ranks(1e-10) == tucker
    assert found.tt_ranks(1e-10) == train
    assert list(found.axes) == list(box.names)
    assert list(found.bonds) == [f"{a}|{b}" for a, b in zip(box.names, box.names[1:])]  # noqa: B905


@pytest.mark.parametrize("method", METHODS)
def test_singular_values_are_those_of_the_operator(method):
    """sin(x) sin(y) + c sin(2x) sin(2y), orthogonal on [0, pi]: 1/2 and c/2."""
    box = Box(x=(0.0, np.pi), y=(0.0, np.pi))

    def function(x, y):
        return jnp.sin(x) * jnp.sin(y) + 0.1 * jnp.sin(2 * x) * jnp.sin(2 * y)

    found = separability(function, box, method=method)
    for values in (*found.axes.values(), *found.bonds.values()):
        np.testing.assert_allclose(values[:2], [0.5, 0.05], rtol=1e-12)
    assert found.rms == pytest.approx(np.hypot(0.5, 0.05), rel=1e-12)


def test_methods_agree_where_a_function_must_be_split():
    def function(x, y, z):
        return jnp.exp(-z) / (1.0 + x**2 + y**2)

    ours, theirs = (separability(function, SPACE, points=16, method=m) for m in METHODS)
    for name, values in {**ours.axes, **ours.bonds}.items():
        other = {**theirs.axes, **theirs.bonds}[name]
        count = min(values.size, other.size)
        np.testing.assert_allclose(
            values[:count], other[:count], rtol=1e-9, atol=1e-11 * values[0]
        )


def test_high_dimension_without_a_grid():
    found = separability(pinns.problems.poisson(dimension=60))
    assert set(found) == {"source", "exact"}
    for one in found.values():
        assert one.method == "factored"
        assert set(one.tt_ranks(1e-10)) == {2}
        assert set(one.tucker_ranks(1e-10)) == {2}


def test_problem_reports_source_coefficients_and_exact():
    found = separability(pinns.problems.flow_mixing(), points=40)
    assert list(found) == [
        "source", "coefficient of u_x", "coefficient of u_y", "exact",
    ]  # fmt: skip
    assert found["source"].rms == 0.0
    assert found["source"].tt_ranks(1e-4) == (0, 0)
    # Ranks of the literature's coefficients: 4 at 1e-4, 9 at 1e-8; constant in time.
    mixing = found["coefficient of u_x"]
    assert mixing.tt_ranks(1e-4) == (1, 4)
    assert mixing.tt_ranks(1e-8) == (1, 9)
    assert "x|y" in str(mixing)


def test_several_equations_are_named():
    problem = Problem(
        PLANE,
        lambda u, v, x, y: (u.d("x") - x * v, y * v.d("y", 2) + u**2 - x * y),
        unknowns=("u", "v"),
    )
    found = separability(problem, points=12)
    assert list(found) == [
        "source of equation 1", "coefficient of v in equation 1",
        "source of equation 2", "coefficient of v_yy in equation 2",
    ]  # fmt: skip
    # u**2 has no derivative at u = 0: it is nobody's coefficient.
    assert found["source of equation 2"].tt_ranks(1e-10) == (1,)


@pytest.mark.parametrize(
    "model",
    [
        CP(rank=4, hidden=(6,)),
        TensorTrain(rank=(2, 4), hidden=(6,)),
        Tucker(rank=(2, 3, 2), hidden=(6,)),
    ],
    ids=lambda m: m.name,
)
def test_solutions_by_their_factors_and_on_a_grid(model):
    problem = Problem(SPACE, lambda u: u.d("x"), [Dirichlet(0.0, axes="x", hard=True)])
    solution = made(problem, model)
    ours, theirs = (separability(solution, points=32, method=m) for m in METHODS)
    assert ours.method == "grid"
    assert theirs.method == "factored"
    for name, values in {**ours.axes, **ours.bonds}.items():
        other = {**theirs.axes, **theirs.bonds}[name]
        count = min(values.size, other.size)
        np.testing.assert_allclose(
            values[:count], other[:count], rtol=1e-8, atol=1e-13 * values[0]
        )
    bonds = {"cp": (4, 4), "tt": (2, 4), "tucker": (2, 2)}[model.name]
    assert theirs.tt_ranks(1e-15) <= bonds


def test_lifted_and_pointwise_solutions_use_the_grid():
    lifted = Problem(
        PLANE, lambda u: u.d("x"), [Dirichlet(lambda y: y, axes="x", hard=True)]
    )
    for solution in (
        made(lifted, CP(rank=2, hidden=(4,))),
        made(lifted, MLP((4,)), "float32"),
    ):
        assert separability(solution, points=12).method == "grid"
        with pytest.raises(ValueError, match=r"method='factored' takes CP, .*got Sol"):
            separability(solution, method="factored")
    two = Problem(
        PLANE, lambda u, v: (u.d("x"), v.d("y")), unknowns=("u", "v"), name="two"
    )
    assert list(separability(made(two, CP(rank=2, hidden=(4,))))) == ["u", "v"]


def test_plot(tmp_path):
    found = separability(KNOWN["sum"][1], PLANE, points=12)
    figure = found.plot(tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 0
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(
        line.get_ydata()[:2], found.axes["x"][:2] / found.rms, rtol=1e-12
    )
    both = pinns.plotting.plot_separability({"a": found, "b": found})
    assert [p.get_ylabel() for p in both.axes] == ["a", "", "b", ""]
    with pytest.raises(ValueError, match=r"`path` must end in one of"):
        found.plot("one.what")
    with pytest.raises(ValueError, match="must hold at least one function"):
        pinns.plotting.plot_separability({})


def test_bad_input():
    function = KNOWN["sum"][1]
    with pytest.raises(ValueError, match="`method` must be one of auto, grid, "):
        separability(function, PLANE, method="svd")
    with pytest.raises(TypeError, match=r"a function needs its `box`.*got None"):
        separability(function)
    with pytest.raises(ValueError, match="`box` belongs to a function; a Problem"):
        separability(pinns.problems.heat2d(), PLANE)
    with pytest.raises(ValueError, match="`tolerance` must be a number between"):
        numerical_rank(np.ones(2), 0.0)
    wide = Box.cube(9)
    with pytest.raises(ValueError, match=r"at most 1e\+06 values, got .* 1.0e\+09"):
        separability(lambda *x: x[0], wide, points=10, method="grid")
    deep = made(Problem(wide, lambda u: u.d("x1"), name="wide"), MLP((4,)), "float32")
    with pytest.raises(ValueError, match=r"forms at most 1e\+06 values"):
        separability(deep, points=10)

    def radius(*x):
        return jnp.sqrt(1.0 + sum(c**2 for c in x[1:]) + x[0])

    with pytest.raises(ValueError, match=r"'radius' is not separable .* got 9"):
        separability(radius, wide, points=10)
    with pytest.raises(ValueError, match="'lambda' is not finite at the quadrature"):
        separability(lambda x, y: jnp.log(x - 2.0) * y, PLANE, points=8)


def test_ranks_that_the_points_limit_are_lower_bounds():
    box = pinns.Box(x=(0.0, 1.0), y=(0.0, 1.0))
    found = pinns.separability(lambda x, y: jnp.abs(x - y), box, points=24)
    assert str(found).splitlines()[2].split()[-1] == "≥24"
    smooth = pinns.separability(lambda x, y: jnp.exp(x + y), box, points=24)
    assert "≥" not in str(smooth)


def test_known_functions_of_many_axes_are_found():
    # Beyond 64 rows, JAX cannot iterate over an array while it traces.
    found = pinns.separability(pinns.problems.poisson(dimension=70), points=8)
    assert list(found) == ["source", "exact"]
