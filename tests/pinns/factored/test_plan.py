"""Terms on the faces of one condition, planned together and one by one."""

import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns.factored import plan as planning
from pinns.factored.plan import plan
from pinns.factored.rows import quadrature_rows, shared_terms


BOX = pinns.Box(t=(0.0, 1.0), x=(-1.0, 2.0), y=(0.5, 3.0))


def problem_with(value, **options):
    def residual(u, t, x, y):
        return u.d("t") - x * u.d("x", 2) - u.d("y", 2) + jnp.sin(x) * y

    return pinns.Problem(
        BOX,
        residual,
        [
            pinns.Dirichlet(value, axes=("x", "y"), weight=3.0, **options),
            pinns.Initial("t", lambda x, y: x + y),
            pinns.Neumann(1.0, axes=("x", "y"), side="upper"),
        ],
    )


def rows_of(problem, rng):
    counts = (4, 6, 5)
    x = [
        np.sort(rng.uniform(a, b, n))
        for (a, b), n in zip(BOX.intervals, counts, strict=True)
    ]
    weights = [rng.uniform(0.1, 1.0, n) for n in counts]
    return quadrature_rows(problem, x, weights)


def inner_products(found, u):
    """Returns all forms at a product of functions u[axis][order], per group."""
    out = {}
    versions = {(): found.versions[()].multipliers}
    spec = found.versions[0,]
    versions[0,] = spec.multipliers * np.stack(
        [[own[order] for ((_, order, _),) in spec.keys] for own in u]
    )
    for form in found.bilinear:
        left, right, t = versions[form.left], versions[form.right], form.table
        states = np.eye(t.states)[0]
        for level in range(len(u)):
            grams = np.array(
                [
                    np.sum(
                        found.rows.weights[m][level] * left[level, a] * right[level, b]
                    )
                    for m, a, b in form.combos
                ]
            )
            following = np.zeros(t.states)
            for k in range(t.weight.shape[1]):
                following[t.target[level, k]] += (
                    t.weight[level, k]
                    * grams[t.symbol[level, k]]
                    * states[t.source[level, k]]
                )
            states = following
        out[form.left, form.right] = states[: len(found.group_weights)]
    return out


def test_faces_planned_together_and_one_by_one_agree(rng, monkeypatch):
    problem = problem_with(lambda x, y, t: jnp.exp(-x) * t + jnp.cos(y) / 3.0)
    rows = rows_of(problem, rng)
    u = rng.normal(size=(3, 3, rows.inner + 2))
    together = plan(problem, rows, 1e-10)
    monkeypatch.setattr(planning, "shared_terms", lambda *_: [])
    apart = plan(problem, rows, 1e-10)
    assert together.group_weights == apart.group_weights
    assert (together.terms, together.families) == (apart.terms, apart.families)
    np.testing.assert_allclose(together.known_norms(), apart.known_norms(), rtol=1e-13)
    found, expected = inner_products(together, u), inner_products(apart, u)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, rtol=1e-11)


def test_the_automaton_of_all_faces_does_not_grow_with_their_number():
    def edges(d):
        problem = pinns.problems.poisson(dimension=d)
        rows = quadrature_rows(problem, [np.linspace(0.1, 0.9, 3)] * d, [None] * d)
        return max(
            form.table.weight.shape[1] for form in plan(problem, rows, 1e-10).bilinear
        )

    assert edges(9) == edges(5)


@pytest.mark.parametrize(
    ("value", "shared"),
    [
        (lambda x: x, 1),
        (lambda x, y: jnp.sqrt(x**2 + y**2), 0),  # split on the points of every face
        (lambda x: jnp.log(x + 1.0), 0),  # not finite at x = -1, to be named by face
    ],
)
def test_what_is_shared(rng, value, shared):
    problem = problem_with(value)
    numbers = range(len(problem.terms))
    found = shared_terms(problem, numbers, rows_of(problem, rng), 1e-10)
    assert [s.numbers for s in found] == [(1, 2)] * shared


def test_a_value_that_is_not_finite_is_named_by_face(rng):
    problem = problem_with(lambda x: jnp.log(x + 1.0))
    with pytest.raises(
        ValueError, match=r"dirichlet\(x, y\) on x' is not finite at x ="
    ):
        plan(problem, rows_of(problem, rng), 1e-10)


def test_operators_along_one_axis(rng):
    problem = problem_with(0.0)
    rows = rows_of(problem, rng)
    found = {
        (o.axis, o.order): o.multiplier for o in plan(problem, rows, 1e-9).operators
    }
    assert set(found) == {(0, 1), (1, 2), (2, 2)}
    np.testing.assert_allclose(found[0, 1], 1.0)
    np.testing.assert_allclose(found[1, 2][:6], -rows.coordinates[1, :6])
