import inspect
import json
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns import problems


DEFAULTS = {
    "klein_gordon": {"velocity": False, "hard": False},
    "helmholtz3d": {"a": [4, 4, 3], "k": 1.0, "hard": False},
    "flow_mixing": {"max_velocity": 0.385, "final_time": 4.0},
    "poisson": {"dimension": 5, "hard": False},
    "heat2d": {"diffusivity": 0.1, "mode": [2, 3], "final_time": 1.0, "hard": False},
    "wave1d": {"speed": 1.0, "mode": 3, "final_time": 2.0, "hard": False},
    "burgers1d": {"viscosity": 0.01 / np.pi, "hard": False},
    "allen_cahn": {},
    "navier_stokes": {"viscosity": 0.01, "mode": 1, "final_time": 1.0},
    "fokker_planck": {
        "dimension": 6, "drift": 1.0, "diffusion": 0.25, "final_time": 1.0,
    },
    "parametric_diffusion": {
        "mode": [1, 2], "coefficients": [0.5, 2.0], "hard": False,
    },
    "harmonic_oscillator": {"dimension": 10, "coupling": 0.0, "hard": True},
    "unknown_diffusion": {
        "coefficient": "constant", "noise": 0.01, "measurements": 200, "seed": 0,
    },
    "unknown_burgers": {
        "convection": 1.0, "viscosity": 0.1, "noise": 0.01, "measurements": 300,
        "seed": 0,
    },
    "unknown_source": {"noise": 0.01, "measurements": 400, "seed": 0},
    "annulus": {"mode": 3, "inner": 1.0, "outer": 2.0},
    "spherical_shell": {"inner": 1.0, "outer": 2.0},
}  # fmt: skip
OTHER = {
    "klein_gordon": {"velocity": True, "hard": True},
    "helmholtz3d": {"a": (1, 2, 3), "k": 2.0, "hard": True},
    "flow_mixing": {"max_velocity": 0.5, "final_time": 1.0},
    "poisson": {"dimension": 2, "hard": True},
    "heat2d": {"diffusivity": 0.3, "mode": (1, 2), "final_time": 3.0, "hard": True},
    "wave1d": {"speed": 2.0, "mode": 1, "final_time": 3.0, "hard": True},
    "burgers1d": {"viscosity": 0.02, "hard": True},
    "allen_cahn": {},
    "navier_stokes": {"viscosity": 0.1, "mode": 2, "final_time": 3.0},
    "fokker_planck": {
        "dimension": 2, "drift": 2.0, "diffusion": 0.5, "final_time": 2.0,
    },
    "parametric_diffusion": {
        "mode": (3, 1), "coefficients": (1.0, 3.0), "hard": True,
    },
    "harmonic_oscillator": {"dimension": 3, "coupling": 0.5, "hard": False},
    "unknown_diffusion": {
        "coefficient": "function", "noise": 0.0, "measurements": 20, "seed": 3,
    },
    "unknown_burgers": {
        "convection": 2.0, "viscosity": 0.3, "noise": 0.1, "measurements": 20,
        "seed": 3,
    },
    "unknown_source": {"noise": 0.05, "measurements": 20, "seed": 3},
    "annulus": {"mode": 1, "inner": 0.5, "outer": 3.0},
    "spherical_shell": {"inner": 0.5, "outer": 3.0},
}  # fmt: skip
each_problem = pytest.mark.parametrize("name", DEFAULTS)


def test_all_problems_are_listed():
    assert list(problems.PROBLEMS) == list(DEFAULTS)
    for name, function in problems.PROBLEMS.items():
        assert getattr(pinns.problems, name) is function


@each_problem
def test_origin_is_recorded(name):
    problem = problems.PROBLEMS[name]()
    assert problem.name == name
    assert problem.origin == (name, DEFAULTS[name])
    assert problems.create(name).origin == problem.origin
    assert problem.exact is not None


@each_problem
@pytest.mark.unchecked
def test_origin_makes_the_problem_again(name):
    """Through JSON, as a saved solution does."""
    problem = problems.create(name, **OTHER[name])
    stored, options = json.loads(json.dumps(problem.origin))
    assert options == json.loads(json.dumps(OTHER[name]))
    again = problems.create(stored, **options)
    assert again.origin == problem.origin
    assert again.box == problem.box
    assert again.groups == problem.groups
    points = [jnp.linspace(a, b, 7) for a, b in problem.box.intervals]
    for f, g in zip(problem.exact, again.exact, strict=True):
        np.testing.assert_array_equal(f(*points), g(*points))


@each_problem
def test_every_option_is_used(name):
    for option, value in OTHER[name].items():
        assert _statement(problems.create(name)) != _statement(
            problems.create(name, **{option: value})
        ), option


def _statement(problem):
    """What a problem states, as text."""
    d = problem.box.dimension
    points = [jnp.linspace(a, b, 5)[1:-1] for a, b in problem.box.intervals]
    leaf = jnp.full(3, 0.7)
    residual = problem.residual_values(lambda _, o: leaf * (1 + o[0]), points)
    flags = problem.hard.exponents()
    data = [(c.points, c.values) for _, c in problem.data]
    parts = [problem.box, problem.groups, residual, problem.exact[0](*points), flags]
    parts.append(data)
    return d, [str(part) for part in parts]


@pytest.mark.unchecked
def test_numpy_options_become_plain():
    problem = problems.helmholtz3d(np.array([1, 2, 3]), k=np.float64(2), hard=np.True_)
    assert json.dumps(problem.origin) == (
        '["helmholtz3d", {"a": [1, 2, 3], "k": 2.0, "hard": true}]'
    )


@each_problem
def test_options_have_simple_types(name):
    function = problems.PROBLEMS[name]
    hints = typing.get_type_hints(function)
    assert issubclass(hints.pop("return"), pinns.Problem)
    assert list(hints) == list(inspect.signature(function).parameters)
    for hint in hints.values():
        parts = typing.get_args(hint) or (hint,)
        assert set(parts) <= {bool, int, float, str}


FLAG = "must be True or False, got"
REFUSED = [
    ("klein_gordon", {"velocity": 1}, rf"klein_gordon: `velocity` {FLAG} 1"),
    ("klein_gordon", {"hard": "yes"}, rf"klein_gordon: `hard` {FLAG} 'yes'"),
    ("helmholtz3d", {"a": (1, 2)}, r"`a` must be 3 positive integers, got \(1, 2\)"),
    ("helmholtz3d", {"a": (1, 2, 0)}, r"`a` must be 3 positive int.*\(1, 2, 0\)"),
    ("helmholtz3d", {"a": (1, 2, 0.5)}, r"`a` must be 3 positive int.*\(1, 2, 0.5\)"),
    ("helmholtz3d", {"a": 4}, r"helmholtz3d: `a` must be 3 positive integers, got 4"),
    ("helmholtz3d", {"k": -1.0}, r"`k` must be a finite non-negative number, got -1"),
    ("helmholtz3d", {"k": np.inf}, r"`k` must be a finite non-negative number, got in"),
    ("helmholtz3d", {"k": "1"}, r"`k` must be a finite non-negative number, got '1'"),
    ("helmholtz3d", {"hard": None}, rf"helmholtz3d: `hard` {FLAG} None"),
    ("flow_mixing", {"max_velocity": 0}, r"`max_velocity` must be a positive .* got 0"),
    ("flow_mixing", {"final_time": np.nan}, r"`final_time` must be a pos.*, got nan"),
    ("flow_mixing", {"final_time": True}, r"`final_time` must be a pos.*, got True"),
    ("poisson", {"dimension": 0}, r"`dimension` must be a positive integer, got 0"),
    ("poisson", {"dimension": 2.0}, r"`dimension` must be a positive integer, got 2.0"),
    ("poisson", {"hard": 0}, rf"pinns.problems.poisson: `hard` {FLAG} 0"),
    ("poisson", {"dimension": 7, "hard": True}, r"lifted on at most 6 axes, got 7"),
    ("heat2d", {"diffusivity": -1}, r"heat2d: `diffusivity` must be a positive number"),
    ("heat2d", {"mode": (1, 2, 3)}, r"heat2d: `mode` must be 2 positive integers, got"),
    ("heat2d", {"mode": (True, 2)}, r"heat2d: `mode` must be 2 positive integers, got"),
    ("heat2d", {"final_time": "1"}, r"heat2d: `final_time` must be a positive number"),
    ("heat2d", {"hard": 2}, rf"heat2d: `hard` {FLAG} 2"),
    ("wave1d", {"speed": 0.0}, r"wave1d: `speed` must be a positive number, got 0.0"),
    ("wave1d", {"mode": 1.5}, r"wave1d: `mode` must be a positive integer, got 1.5"),
    ("wave1d", {"final_time": -2}, r"`final_time` must be a positive number, got -2"),
    ("wave1d", {"hard": "no"}, rf"wave1d: `hard` {FLAG} 'no'"),
    ("burgers1d", {"viscosity": 0.0}, r"must be a number from 0.001 to 0.5, got 0.0"),
    ("burgers1d", {"viscosity": 0.6}, r"must be a number from 0.001 to 0.5, got 0.6"),
    ("burgers1d", {"hard": 1}, rf"burgers1d: `hard` {FLAG} 1"),
    ("navier_stokes", {"viscosity": 0.0}, r"stokes: `viscosity` must be a positive"),
    ("navier_stokes", {"mode": 0}, r"stokes: `mode` must be a positive int.*, got 0"),
    ("navier_stokes", {"final_time": -1}, r"stokes: `final_time` must be a positive"),
    ("fokker_planck", {"dimension": 0}, r"`dimension` must be a positive integer"),
    ("fokker_planck", {"drift": 0.0}, r"`drift` must be a positive number, got 0.0"),
    ("fokker_planck", {"diffusion": -1}, r"`diffusion` must be a positive number"),
    ("fokker_planck", {"final_time": "1"}, r"`final_time` must be a positive number"),
    ("parametric_diffusion", {"mode": (1,)}, r"`mode` must be 2 positive integers"),
    ("parametric_diffusion", {"coefficients": 2.0}, r"must be a pair of .*, got 2.0"),
    ("parametric_diffusion", {"coefficients": (2, 1)}, r"ascending, got \(2, 1\)"),
    ("parametric_diffusion", {"coefficients": (0, 1)}, r"a positive number, got 0"),
    ("parametric_diffusion", {"hard": 1}, rf"diffusion: `hard` {FLAG} 1"),
    ("harmonic_oscillator", {"dimension": 1.5}, r"`dimension` must be a positive int"),
    ("harmonic_oscillator", {"coupling": -1}, r"`coupling` must be a finite non-neg"),
    ("harmonic_oscillator", {"hard": 2}, rf"oscillator: `hard` {FLAG} 2"),
    ("annulus", {"mode": 0}, r"annulus: `mode` must be a positive integer, got 0"),
    ("annulus", {"inner": 0}, r"annulus: `inner` must be a positive number, got 0"),
    ("annulus", {"outer": 1}, r"annulus: `outer` must be a number from 1 to"),
    ("spherical_shell", {"inner": -1}, r"shell: `inner` must be a positive number"),
    ("spherical_shell", {"outer": 0.5}, r"shell: `outer` must be a number from 1 to"),
]


@pytest.mark.parametrize(("name", "options", "message"), REFUSED)
def test_wrong_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message) as direct:
        problems.PROBLEMS[name](**options)
    with pytest.raises(ValueError, match=message) as created:
        problems.create(name, **options)
    assert str(direct.value) == str(created.value)
    assert str(direct.value).startswith("pinns.")


def test_unknown_names_are_refused():
    message = r"`name` must be one of klein_gordon, .*, spherical_shell, got 'euler'"
    with pytest.raises(ValueError, match=message):
        problems.create("euler")
    message = r"poisson has no option 'rank', its options are dimension, hard$"
    with pytest.raises(ValueError, match=message):
        problems.create("poisson", rank=3)
    with pytest.raises(TypeError, match=r"poisson\(\) got an unexpected keyword"):
        problems.poisson(rank=3)


@pytest.mark.parametrize(
    "dimension", [1, 2, 5, 10, 32, pytest.param(100, marks=pytest.mark.slow)]
)
def test_poisson_in_any_dimension(dimension):
    """Stated and traced on a grid of 4^d points, which is never formed."""
    problem = problems.poisson(dimension)
    assert problem.box.names == tuple(f"x{i + 1}" for i in range(dimension))
    assert problem.box.intervals == ((0.0, 1.0),) * dimension
    grid = [
        jax.ShapeDtypeStruct([4 if i == k else 1 for i in range(dimension)], "float32")
        for k in range(dimension)
    ]
    (residual,) = jax.eval_shape(lambda *x: problem.exact_residual(x), *grid)
    assert residual.shape == (4,) * dimension
    middle = [jnp.full(1, 1 / 3)] * dimension
    np.testing.assert_allclose(problem.exact[0](*middle), dimension / 2, rtol=1e-6)


def test_published_settings(x64):
    """Values that follow from the formulas of the papers by hand."""
    one, half = jnp.ones(1), jnp.full(1, 0.5)
    klein_gordon, helmholtz3d, wave1d, heat2d = (
        problems.create(n) for n in ("klein_gordon", "helmholtz3d", "wave1d", "heat2d")
    )
    value = klein_gordon.exact[0](np.pi / 4 * one, half, half)
    np.testing.assert_allclose(value, 0.25, rtol=1e-15)
    value = helmholtz3d.exact[0](one / 8, one / 8, -one / 6)
    np.testing.assert_allclose(value, -1.0, rtol=1e-15)
    value = wave1d.exact[0](half, half)
    np.testing.assert_allclose(value, 0.5, rtol=1e-15)
    value = heat2d.exact[0](one, half, half)
    np.testing.assert_allclose(value, np.exp(-0.2 * np.pi**2), rtol=1e-13)
    assert klein_gordon.box == pinns.Box(t=(0, 10), x=(-1, 1), y=(-1, 1))
    assert helmholtz3d.box == pinns.Box(x=(-1, 1), y=(-1, 1), z=(-1, 1))
    assert problems.flow_mixing().box == pinns.Box(t=(0, 4), x=(-4, 4), y=(-4, 4))
    assert problems.burgers1d().box == pinns.Box(t=(0, 1), x=(-1, 1))


def test_velocity_is_a_choice():
    """The published setting of Klein-Gordon imposes none."""
    group = "initial(t, order=1)"
    assert group not in problems.klein_gordon().groups
    assert group in problems.klein_gordon(velocity=True).groups
