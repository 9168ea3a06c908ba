"""Evaluation, differentiation, measuring, saving and loading of solutions."""

import json
import subprocess
import sys
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns import CP, MLP, Box, Dirichlet, Problem, TensorTrain, Tucker
from pinns._norms import error_grid


BOX = Box(t=(0.0, 1.0), x=(-1.0, 1.0), y=(0.0, 2.0))
KEY = jax.random.key(0)


def exact(t, x, y):
    return jnp.exp(-t) * x + y


def make_problem():
    return Problem(
        BOX,
        lambda u, t, x, y: u.d("t") + u.d("x", 2) + exact(t, x, y) - y,
        [Dirichlet(exact)],
        exact=exact,
    )


MODELS = {
    "cp": CP(rank=3, hidden=(8,)), "tt": TensorTrain(rank=(2, 3), hidden=(8,)),
    "tucker": Tucker(rank=(2, 3, 2), hidden=(8,)), "mlp": MLP((8,)),
    "float64": CP(rank=3, hidden=(8,), network="siren"),
}  # fmt: skip


@pytest.fixture(scope="module")
def solved():
    """A function that returns the solution of a model, solved for once."""

    @cache
    def of(name):
        dtype = "float64" if name == "float64" else "float32"
        options = {"points": 5, "steps": 4, "key": KEY, "dtype": dtype}
        return pinns.solve(make_problem(), MODELS[name], **options)

    return of


@pytest.fixture(params=list(MODELS))
def solution(request, solved):
    return solved(request.param)


@pytest.fixture
def one(solved):
    """Where the model makes no difference."""
    return solved("cp")


def test_grid_scalar_and_scattered_calls_agree(solution):
    t, x, y = jnp.linspace(0, 1, 3), jnp.linspace(-1, 1, 4), 0.5
    grid = solution(t, x, y)
    assert grid.shape == (3, 4)
    points = jnp.stack(
        [m.ravel() for m in jnp.meshgrid(t, x, jnp.asarray([y]), indexing="ij")], -1
    )
    np.testing.assert_allclose(solution.at(points).reshape(3, 4), grid, atol=1e-5)
    assert solution(0.1, 0.2, 0.3).shape == ()
    assert solution.at(points.reshape(3, 4, 3)).shape == (3, 4)


def test_chunks_do_not_show(solution, monkeypatch):
    points = np.random.default_rng(0).random((37, 3))
    whole = solution.at(points)
    monkeypatch.setattr(pinns.solution, "POINTS_PER_CHUNK", 8)
    again = pinns.Solution(
        **{f: getattr(solution, f) for f in solution.__dataclass_fields__}
    )
    np.testing.assert_allclose(again.at(points), whole, atol=1e-6)


def test_derivatives_match_autodiff_of_the_solution(solution):
    point = jnp.asarray([0.3, 0.2, 0.7])
    gradient = jax.grad(lambda p: solution.at(p[None])[0])(point)
    ours = [solution.d(axis)(*point) for axis in "txy"]
    np.testing.assert_allclose(jnp.stack(ours), gradient, rtol=2e-4, atol=1e-5)
    mixed = solution.d("x").d("y")
    assert mixed(0.3, 0.2, 0.7).shape == ()
    second = jax.grad(lambda x: solution.d("x")(0.3, x, 0.7))(0.2)
    np.testing.assert_allclose(
        solution.d("x", 2)(0.3, 0.2, 0.7), second, rtol=2e-3, atol=1e-4
    )


def test_traceable_in_other_code(solution):
    @jax.jit
    def integral(t):
        x, y = jnp.linspace(-1, 1, 5), jnp.linspace(0, 2, 5)
        return jnp.mean(solution(t, x, y))

    slope = jax.grad(integral)(0.5)
    assert jnp.isfinite(slope)
    many = jax.vmap(integral)(jnp.linspace(0, 1, 3))
    assert many.shape == (3,)


def test_errors_against_numpy(solution):
    t, x, y = BOX.grid(7)
    ours = np.asarray(solution(t, x, y), np.float64)
    mesh = np.meshgrid(*map(np.asarray, (t, x, y)), indexing="ij")
    theirs = np.asarray(exact(*mesh), np.float64)
    expected = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    assert solution.relative_l2(7) == pytest.approx(expected, rel=1e-4)
    assert solution.linf(7) == pytest.approx(np.abs(ours - theirs).max(), rel=1e-4)


def test_residual_at_unseen_points_by_hand(solution):
    points = np.random.default_rng(1).random((6, 3)).astype(np.float32)
    (residual,) = solution.residual(points)
    by_hand = [
        np.asarray(solution.d("t")(*p)) + np.asarray(solution.d("x", 2)(*p))
        + np.asarray(exact(*p)) - p[2]
        for p in points
    ]  # fmt: skip
    np.testing.assert_allclose(residual, np.stack(by_hand), rtol=1e-3, atol=1e-4)
    assert solution.residual_rms() > 0
    assert solution.residual_rms(seed=1) != solution.residual_rms(seed=2)


def test_default_error_grids_follow_the_paper():
    assert [error_grid(d) for d in (1, 2, 3, 4, 5)] == [1000, 100, 100, 79, 33]


def test_high_dimension_is_measured_at_scattered_points():
    problem = pinns.problems.poisson(dimension=10)
    solution = pinns.solve(problem, CP(rank=2, hidden=(4,)), points=2, steps=1, key=KEY)
    assert np.isfinite(solution.relative_l2())


def test_to_xarray(solution):
    data = solution.to_xarray({"t": 3, "x": 4, "y": 2})
    assert data["u"].dims == ("t", "x", "y")
    assert data["u"].shape == (3, 4, 2)
    assert float(data["x"][0]) == -1.0


def test_to_xarray_says_which_extra_is_missing(one, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r"separax\[xarray\]"):
        one.to_xarray()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda s: s(0.5, 0.5), r"expected 3 coordinates \(t, x, y\), got 2"),
        (lambda s: s(jnp.ones((2, 2)), 0, 0), r"'t' must be a number or a 1-D array"),
        (lambda s: s.at(jnp.ones((2, 4))), r"shape \(\.\.\., 3\) .*got \(2, 4\)"),
        (lambda s: s.residual(jnp.zeros((3, 5))), r"shape \(N, 3\) .*got \(3, 5\)"),
        (lambda s: s.d("z"), "pinns.Solution.d: unknown axis 'z'"),
        (lambda s: s.d("x", -1), "`order` must be a positive integer, got -1"),
    ],
)
def test_bad_input(one, act, message):
    with pytest.raises(ValueError, match=message):
        act(one)


class TestStorage:
    def test_round_trip(self, solution, tmp_path):
        folder = solution.save(tmp_path / "run")
        assert sorted(p.name for p in folder.iterdir()) == [
            "arrays.safetensors", "solution.json",
        ]  # fmt: skip
        loaded = pinns.load(folder, make_problem())
        points = np.random.default_rng(0).random((5, 3))
        assert np.array_equal(loaded.at(points), solution.at(points))
        assert loaded.model == solution.model
        assert loaded.history.steps.tolist() == solution.history.steps.tolist()
        assert loaded.settings == solution.settings

    @pytest.mark.parametrize(
        "solution",
        [
            *("cp", "mlp", "float64"),
            *(pytest.param(name, marks=pytest.mark.slow) for name in ("tt", "tucker")),
        ],
        indirect=True,
    )
    def test_training_continues_bit_for_bit(self, solution, tmp_path):
        loaded = pinns.load(solution.save(tmp_path), make_problem())
        options = {"points": 5, "steps": 3, "key": KEY, "dtype": solution.dtype}
        results = [
            pinns.solve(make_problem(), solution.model, start=start, **options)
            for start in (solution, loaded)
        ]
        a, b = (jax.tree.leaves(r.params) for r in results)
        assert all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))

    def test_built_in_problem_loads_in_a_new_process(self, tmp_path):
        problem = pinns.problems.poisson(dimension=2)
        solution = pinns.solve(problem, CP(rank=2), points=4, steps=2, key=KEY)
        solution.save(tmp_path)
        code = (
            "import pinns, sys; s = pinns.load(sys.argv[1]);"
            "print(repr(float(s(0.25, 0.5))), s.problem.name)"
        )
        out = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        value, name = out.stdout.split()
        assert float(value) == pytest.approx(float(solution(0.25, 0.5)), rel=1e-6)
        assert name == "poisson"

    def test_own_problem_is_asked_for(self, one, tmp_path):
        one.save(tmp_path)
        with pytest.raises(pinns.LoadError, match="pass its Problem"):
            pinns.load(tmp_path)

    def test_other_problem_is_refused(self, one, tmp_path):
        one.save(tmp_path)
        renamed = Problem(BOX, lambda u, t: u.d("t"), name="else")
        with pytest.raises(pinns.LoadError, match=r"the given problem is 'else'"):
            pinns.load(tmp_path, renamed)
        name = make_problem().name
        other = Problem(Box(x=(0, 1)), lambda u, x: u.d("x"), name=name)
        with pytest.raises(pinns.LoadError, match="was saved with axes"):
            pinns.load(tmp_path, other)

    def test_changed_functions_and_weights_are_refused(self, tmp_path):
        def stated(factor=1.0, weight=1.0, hard=False):
            return Problem(
                Box(x=(0.0, 1.0)),
                lambda u, x: u.d("x", 2) - factor * x,
                [Dirichlet(0.0, weight=weight, hard=hard)],
                name="own",
            )

        pinns.solve(stated(), CP(1, hidden=(2,)), points=3, steps=1, key=KEY).save(
            tmp_path
        )
        assert pinns.load(tmp_path, stated()).step == 1
        with pytest.raises(pinns.LoadError, match="they differ in 'residual' "):
            pinns.load(tmp_path, stated(factor=2.0))
        with pytest.raises(pinns.LoadError, match="they differ in 'dirichlet"):
            pinns.load(tmp_path, stated(weight=2.0))
        with pytest.raises(pinns.LoadError, match="saved with loss groups"):
            pinns.load(tmp_path, stated(hard=True))
        path = tmp_path / "solution.json"
        description = json.loads(path.read_text())
        description["problem"]["fingerprint"]["hard"] = ["else"]
        path.write_text(json.dumps(description))
        with pytest.raises(pinns.LoadError, match=r"with the hard conditions \['else'"):
            pinns.load(tmp_path, stated())
        description["problem"]["fingerprint"]["jax"] = "0.0"  # not to be compared
        path.write_text(json.dumps(description))
        assert pinns.load(tmp_path, stated(factor=2.0)).step == 1

    def test_other_options_are_refused(self, tmp_path):
        heat = pinns.problems.heat2d()
        pinns.solve(heat, CP(rank=2), points=4, steps=1, key=KEY).save(tmp_path)
        with pytest.raises(pinns.LoadError, match=r"'diffusivity': 0\.9"):
            pinns.load(tmp_path, pinns.problems.heat2d(diffusivity=0.9))

    def test_nothing_there(self, tmp_path):
        with pytest.raises(pinns.LoadError, match="no solution in"):
            pinns.load(tmp_path / "nothing")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda d: d.update(format=99), "has format 99, this version reads 1"),
            (lambda d: d.pop("dtype"), "lacks the entry 'dtype'"),
            (lambda d: d["model"].update(name="vgg"), "unknown model 'vgg'"),
            (
                lambda d: d["model"]["options"].update(hidden=[9]),
                "should be .* found",
            ),
        ],
    )
    def test_damaged_description(self, one, tmp_path, change, message):
        path = one.save(tmp_path) / "solution.json"
        description = json.loads(path.read_text())
        change(description)
        path.write_text(json.dumps(description))
        with pytest.raises(pinns.LoadError, match=message):
            pinns.load(tmp_path, make_problem())

    def test_unreadable_json(self, one, tmp_path):
        (one.save(tmp_path) / "solution.json").write_text("{")
        with pytest.raises(pinns.LoadError, match="cannot read"):
            pinns.load(tmp_path, make_problem())

    def test_damaged_arrays(self, one, tmp_path):
        path = one.save(tmp_path) / "arrays.safetensors"
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(pinns.LoadError, match=r"cannot read .*safetensors"):
            pinns.load(tmp_path, make_problem())
