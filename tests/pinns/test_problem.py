"""Problems and conditions refuse what cannot work, naming what was given."""

import jax.numpy as jnp
import numpy as np
import pytest

from pinns import Box, Data, Dirichlet, Initial, Neumann, Periodic, Problem, Robin


BOX = Box(t=(0.0, 1.0), x=(-1.0, 1.0))


def good(u, t, x):
    return u.d("t") - u.d("x", 2)


def make(residual=good, conditions=(), **options):
    return Problem(BOX, residual, conditions, **options)


def test_repr_and_groups_name_the_conditions():
    problem = make(conditions=[Initial("t", 0.0), Dirichlet(0.0, "x", name="walls")])
    assert problem.groups == ("residual", "initial(t)", "walls")
    assert "walls" in repr(problem)
    assert "Box(t=(0, 1)" in repr(problem)


def test_faces_need_no_listing_in_any_dimension():
    box = Box.cube(10)
    problem = Problem(box, lambda u, *x: u.d("x1", 2), [Dirichlet(0.0)])
    assert len(problem.terms) == 1 + 10  # one term for both ends of each axis
    assert problem.groups == ("residual", "dirichlet(x1, ..., x10)")


def test_functions_may_take_some_coordinates_by_name():
    seen = {}

    def value(x):
        seen["shape"] = x.shape
        return x

    make(lambda u, x: u.d("x") - x, [Dirichlet(value, "x"), Initial("t", lambda x: x)])
    assert seen["shape"] == (1, 2)


def test_systems_return_one_equation_per_unknown():
    def residual(u, v, t, x):
        return u.d("t") - v.d("x"), v.d("t") - u.d("x")

    problem = make(
        residual,
        [Dirichlet(0.0, "x", unknown="v")],
        unknowns=("u", "v"),
        exact={"v": lambda t, x: t * x, "u": lambda t, x: t},
    )
    assert problem.equations == 2
    t, x = jnp.ones((2, 1)), jnp.ones((1, 2))
    assert [float(f(t, x).max()) for f in problem.exact] == [1.0, 1.0]


def test_scalars_of_numpy_and_jax_are_numbers():
    problem = make(
        conditions=[
            Dirichlet(np.float32(1), weight=jnp.float32(2)),
            Robin(np.float64(0), alpha=jnp.float32(1), beta=np.float32(2)),
        ],
        weight=np.float32(3),
    )
    assert problem.weight == 3.0
    assert [term.weight for term in problem.terms[1:3]] == [1.0, 1.0]  # 2 over two axes


def test_groups_name_the_unknown_of_a_system():
    conditions = [Dirichlet(0.0, "x", unknown=n) for n in "uv"]
    problem = make(lambda u, v, t, x: (u, v), conditions, unknowns=("u", "v"))
    faces = ("dirichlet[u](x)", "dirichlet[v](x)")
    assert problem.groups == ("residual[0]", "residual[1]", *faces)


def test_equations_may_have_names():
    problem = make(lambda u, t, x: (u.d("t"), u.d("x")), equations=("mass", "heat"))
    assert problem.groups == ("residual[mass]", "residual[heat]")
    assert problem.equations == 2


def test_conditions_without_names_are_told_apart():
    data = [Data(np.full((1, 2), 0.5), np.zeros(1)) for _ in range(3)]
    named = [Dirichlet(0.0, "x", name="walls"), Dirichlet(1.0, "x", name="walls")]
    problem = make(conditions=[*data, *named])
    assert problem.groups == ("residual", "walls", "data", "data 2", "data 3")


@pytest.mark.parametrize("shape", [(3, 4), (7, 8), (5,), (3, 4, 2)])
def test_arrays_of_fixed_size_are_refused_by_name(shape):
    own = np.ones(shape, np.float32)
    what = r"pinns.Problem: the residual combines arrays .* in the term 'residual'"
    with pytest.raises(ValueError, match=what):
        make(lambda u, t, x: u.d("t") + jnp.asarray(own))
    with pytest.raises(ValueError, match=r"pinns.Neumann: .* in the term 'neumann\(x"):
        make(conditions=[Neumann(lambda t, x: jnp.asarray(own), "x")])
    with pytest.raises(ValueError, match=r"pinns.Neumann: the function combines array"):
        make(conditions=[Neumann(lambda t, x: t * jnp.asarray(own[..., None]), "x")])


def test_other_errors_of_users_are_left_alone():
    def residual(u, t, x):
        raise ValueError("my own")

    with pytest.raises(ValueError, match=r"^my own"):
        make(residual)


def test_over_determined_systems_say_so():
    problem = make(lambda u, t, x: (u.d("t"), u.d("x")), equations=2)
    assert (problem.equations, problem.unknowns) == (2, ("u",))


BAD = [
    (lambda: Problem("box", good), TypeError, "`box` must be a pinns.Box, got 'box'"),
    (lambda: make(lambda u, t, x: u.d("z")), ValueError, "unknown axis 'z'"),
    (
        lambda: make(lambda u, time, x: u.d("t")), ValueError,
        r"'time' is no axis of the box; expected arguments among \(t, x\)",
    ),
    (
        lambda: make(lambda w, t, x: w.d("t")), ValueError,
        r"must take the unknowns \(u\) first.*got \(w, t, x\)",
    ),
    (lambda: make(lambda u, /, t, x: u), TypeError, "positional-only 'u'"),
    (lambda: make(3.0), TypeError, "expected a function, got 3.0"),
    (
        lambda: make(lambda u, t, x: (u, u)), ValueError,
        "must return 1 equation .*got 2",
    ),
    (
        lambda: make(lambda u, v, t, x: u, unknowns=("u", "v")), ValueError,
        "must return 2 equations .*got 1",
    ),
    (
        lambda: make(lambda u, t, x: jnp.sum(jnp.asarray(u))), ValueError,
        r"equation 0 .*must depend on an unknown.*got shape \(1, 1\)",
    ),
    (
        lambda: make(lambda u, t, x: x), ValueError,
        r"must depend on an unknown and have the points' shape \(3, 4\)",
    ),
    (
        lambda: make(lambda u, t, x: jnp.zeros((7,))), ValueError,
        r"broadcast to the points' shape \(3, 4\), got shape \(7,\)",
    ),
    (lambda: make(lambda u, t, x: None), TypeError, "got NoneType"),
    (lambda: make(lambda u, t, x: 1j * u.values), ValueError, "expected real values"),
    (lambda: make(lambda u, t, x: (x * u).d("x")), TypeError, "calls `.d` on an array"),
    (lambda: make(lambda u, t, x: np.sin(x) * u), TypeError, "written with jax.numpy"),
    (
        lambda: make(conditions=[Dirichlet(lambda t, x: np.sin(x))]), TypeError,
        "pinns.Dirichlet: the function must be written with jax.numpy",
    ),
    (
        lambda: make(lambda u, t, x: np.sin(u)), TypeError,
        "does not support ufuncs",
    ),
    (
        lambda: make(lambda u, t, x: u if (x > 0).all() else -u), TypeError,
        "may not branch on values",
    ),
    (lambda: make(lambda u, t, x: u * float(jnp.sum(x))), TypeError, "Python numbers"),
    (lambda: make(lambda u, t, x: "u"), TypeError, "expected one array .* got str"),
    (lambda: make(lambda u, t, x: {"u": u}), TypeError, "got dict"),
    (
        lambda: make(lambda u, t, x: t + x), ValueError,
        "'residual' must depend on an unknown",
    ),
    (
        lambda: make(conditions=Dirichlet(0.0)), TypeError,
        "must be a list of conditions, got one condition",
    ),
    (lambda: make(weight=float("nan")), ValueError, "`weight` must be a positive"),
    (lambda: Dirichlet(0.0, ("x", "x")), ValueError, "several different axes"),
    (lambda: Dirichlet(0.0, 0), ValueError, "several different axes, got 0"),
    (lambda: Periodic(()), ValueError, r"several different axes, got \(\)"),
    (lambda: Periodic("x", order=1.0), ValueError, "from 0 to 4, got 1.0"),
    (
        lambda: Robin(0.0, alpha=0, beta=0.0), ValueError,
        "`alpha` and `beta` must not both be zero",
    ),
    (
        lambda: make(conditions=[Robin(0.0, alpha=None)]), TypeError,
        "`alpha` must be a number or a function",
    ),
    (
        lambda: make(conditions=[Robin(0.0, beta=np.nan)]), ValueError,
        "`beta` must be finite, got nan",
    ),
    (lambda: Data("a", "b"), TypeError, "expected numeric `points`.*got str and str"),
    (lambda: make(unknowns=()), ValueError, "`unknowns` must be distinct names"),
    (lambda: make(unknowns=("x",)), ValueError, "that are no axes"),
    (lambda: make(equations=0), ValueError, "`equations` must be a positive integer"),
    (lambda: make(equations=("a", "a")), ValueError, r"distinct names, got \('a', 'a"),
    (lambda: make(equations=()), ValueError, "must be a number or distinct names, got"),
    (lambda: make(weight=-1.0), ValueError, "`weight` must be a positive number"),
    (lambda: make(exact="x"), TypeError, "must be a number or a function"),
    (lambda: make(exact={"v": good}), ValueError, r"must name \(u\), got \(v\)"),
    (
        lambda: Problem(
            BOX, lambda u, v, t, x: (u, v), unknowns=("u", "v"), exact=lambda t, x: t
        ), ValueError, "must map each of the unknowns",
    ),
    (lambda: make(conditions=["dirichlet"]), TypeError, "must be pinns conditions"),
    (
        lambda: make(conditions=[Dirichlet(0.0, "z")]), ValueError,
        "pinns.Dirichlet: unknown axis 'z', the axes are t, x",
    ),
    (
        lambda: make(conditions=[Neumann(0.0, "z")]), ValueError,
        "pinns.Neumann: unknown",
    ),
    (lambda: make(conditions=[Robin(0.0, "z")]), ValueError, "pinns.Robin: unknown"),
    (lambda: make(conditions=[Periodic("z")]), ValueError, "pinns.Periodic: unknown"),
    (
        lambda: make(conditions=[Initial("z", 0.0)]), ValueError,
        "pinns.Initial: unknown",
    ),
    (
        lambda: make(conditions=[Dirichlet(lambda t, y: t)]), ValueError,
        r"pinns.Dirichlet: argument 'y' is no axis",
    ),
    (
        lambda: make(conditions=[Dirichlet(lambda t, x: jnp.zeros(5))]), ValueError,
        r"pinns.Dirichlet: expected values that broadcast .*got shape \(5,\)",
    ),
    (
        lambda: make(conditions=[Initial("t", lambda t, x: (x, x))]), TypeError,
        r"pinns.Initial: expected one array",
    ),
    (
        lambda: make(conditions=[Dirichlet("zero")]), TypeError,
        "must be a number or a function",
    ),
    (
        lambda: make(conditions=[Dirichlet(0.0, unknown="v")]), ValueError,
        r"`unknown` must be one of \(u\), got 'v'",
    ),
    (
        lambda: Dirichlet(0.0, side="left"), ValueError,
        "one of both, lower, upper, got 'left'",
    ),
    (
        lambda: Dirichlet(0.0, weight=0.0), ValueError,
        "`weight` must be a positive number, got 0",
    ),
    (lambda: Dirichlet(0.0, weight=float("nan")), ValueError, "`weight` must be"),
    (lambda: Dirichlet(0.0, hard="yes"), TypeError, "`hard` must be True or False"),
    (
        lambda: make(conditions=[Dirichlet(0.0, ())]), ValueError,
        "`axes` must name one or several",
    ),
    (lambda: Initial("t", 0.0, order=2), ValueError, "`order` must be 0 or 1, got 2"),
    (lambda: Periodic("x", order=7), ValueError, "integer from 0 to 4, got 7"),
    (
        lambda: Data(np.zeros((3, 2)), np.zeros(4)), ValueError,
        r"got \(3, 2\) and \(4,\)",
    ),
    (
        lambda: Data(np.full((1, 2), np.nan), np.zeros(1)), ValueError,
        "must be finite",
    ),
    (
        lambda: make(conditions=[Data(np.zeros((3, 4)), np.zeros(3))]), ValueError,
        r"must have 2 columns \(t, x\), got shape \(3, 4\)",
    ),
    (
        lambda: make(conditions=[Data(np.full((3, 2), 5.0), np.zeros(3))]), ValueError,
        "point 0 lies outside Box",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("act", "error", "message"), BAD)
def test_bad_input(act, error, message):
    with pytest.raises(error, match=message):
        act()


def test_missing_exact_solution_is_named():
    with pytest.raises(ValueError, match="problem 'good' has none"):
        make().exact_residual([jnp.ones((2, 1)), jnp.ones((1, 2))])
