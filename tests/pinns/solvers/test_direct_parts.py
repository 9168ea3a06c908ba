"""The pieces of direct solves against loops, closed forms and the model's own basis."""

import string

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns.derivatives import jet
from pinns.factors import envelope
from pinns.solvers._axes import basis_jets, eliminate, envelope_jets, make_axis
from pinns.solvers._diagonal import Diagonalization, Pencil
from pinns.solvers._kronecker import Rows, condition_of, contract, scale
from pinns.solvers._krylov import condition_estimate, gmres, lsqr
from pinns.solvers._system import scattered


BASES = ("chebyshev", "legendre", "fourier", "random_features")


def waves(count):
    rng = np.random.default_rng(3)
    return 10.0 * rng.standard_normal(count), 6.0 * rng.random(count)


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_bases_are_those_of_the_models(kind, count, x64):
    model = pinns.Tucker(rank=1, network=kind, hidden=(count,))
    ends, x = jnp.array([-0.5, 2.0]), jnp.linspace(-0.5, 2.0, 9)
    params = {"kernel": jnp.eye(count)}
    own = waves(count) if kind == "random_features" else None
    if own is not None:
        params |= {"frequencies": jnp.asarray(own[0]), "phases": jnp.asarray(own[1])}
    expected = jet(lambda s: model.net.features(params, s, ends), x, 3)
    scaled = 2.0 / 2.5 * (np.asarray(x) + 0.5) - 1.0
    found = basis_jets(kind, scaled, count, 3, own)
    for order in range(4):
        np.testing.assert_allclose(
            found[order] * 0.8**order, expected[order], rtol=1e-10, atol=1e-9
        )


@pytest.mark.parametrize("stretch", [(0.0, 3.0), (-0.7, 50.0)])
def test_stretched_axes_are_those_of_the_models(stretch, x64):
    net = pinns.Tucker(rank=1, network="spectral", hidden=(7,)).net
    axis = make_axis("chebyshev", 7, (-0.5, 2.0), stretch=stretch)
    x = np.linspace(-0.5, 2.0, 9)
    names = ("periodic", "center", "sharpness")
    own = zip(names, jnp.asarray([0.0, *stretch]), strict=True)
    params = {"kernel": jnp.asarray(axis.transform), **dict(own)}
    ends = jnp.array([-0.5, 2.0])
    expected = jet(lambda x: net.apply(params, x, ends), jnp.asarray(x), 3)
    for found, wanted in zip(axis.jets(x, 3), expected, strict=True):
        size = np.abs(wanted).max()
        np.testing.assert_allclose(found, wanted, rtol=0.0, atol=1e-10 * size)
    values = axis.jets(axis.nodes, 0)[0]
    gram = values.T @ (axis.weights[:, None] * values)
    np.testing.assert_allclose(gram, np.eye(7), rtol=0.0, atol=1e-12)
    # Half of the nodes are where the layer is.
    middle = -0.5 + 1.25 * (stretch[0] + 1.0)
    near = np.abs(axis.nodes - middle) < 10 * 1.25 / stretch[1]
    assert near.sum() >= 3


@pytest.mark.parametrize("flags", [(1, 0, 0), (1, 1, 0), (1, 0, 1), (0, 0, 1)])
def test_envelopes_are_those_of_the_models(flags, x64):
    ends, x = jnp.array([0.0, 1.0]), jnp.linspace(0.0, 1.0, 7)
    weights = jnp.asarray(flags, jnp.float64)
    expected = jet(lambda s: envelope(s, ends, weights), x, 2)
    found = envelope_jets(np.asarray(x), flags, 2)
    for order in range(3):
        np.testing.assert_allclose(found[order], expected[order][:, 0], atol=1e-13)


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("flags", [(0, 0, 0), (1, 0, 1), (1, 1, 0)])
def test_functions_of_an_axis_are_orthonormal(kind, flags):
    own = waves(20) if kind == "random_features" else None
    axis = make_axis(kind, 20, (-1.0, 3.0), flags, own)
    values = axis.jets(axis.nodes, 0)[0]
    gram = values.T @ (axis.weights[:, None] * values)
    # The smallest combinations of random features are blown up by 1e9.
    atol = 1e-6 if kind == "random_features" else 1e-11
    np.testing.assert_allclose(gram, np.eye(axis.rank), atol=atol)
    np.testing.assert_allclose(axis.weights.sum(), 1.0, rtol=1e-13)
    ends = axis.jets(np.array([-1.0, 3.0]), 1)
    assert np.abs(ends[0, 0]).max() > 1e-3 or flags[0]
    if flags[0]:
        np.testing.assert_allclose(ends[0, 0], 0.0, atol=1e-10)
    if flags[1]:
        np.testing.assert_allclose(ends[1, 0], 0.0, atol=1e-10)


@hypothesis.given(
    st.integers(0, 3), st.integers(4, 12), st.integers(0, 2**32 - 1), st.booleans()
)
def test_eliminate_meets_the_conditions(b, r, seed, repeated):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((b, r)) * np.arange(1.0, r + 1.0)
    data = rng.standard_normal(b)
    if repeated and b:
        rows, data = np.vstack([rows, 2.0 * rows[:1]]), np.append(data, 2.0 * data[0])
    found = eliminate(rows, np.linalg.norm(rows, axis=1))
    assert found.null.shape == (r, r - b)
    c = found.lift @ (found.mix @ data) + found.null @ rng.standard_normal(r - b)
    size = np.abs(rows).max(initial=1.0) * np.abs(c).max(initial=1.0)
    np.testing.assert_allclose(rows @ c, data, atol=1e-9 * size)
    np.testing.assert_allclose(found.null.T @ found.null, np.eye(r - b), atol=1e-12)


def test_rows_that_cancel_are_dropped():
    rows = np.array([[1e-15, -1e-16, 0.0], [1.0, 1.0, 1.0]])
    found = eliminate(rows, np.array([3.0, 2.0]))
    assert found.rows.shape == (1, 3)


@hypothesis.given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
)
def test_contract_and_rows_equal_loops(shapes, seed):
    rng = np.random.default_rng(seed)
    d = len(shapes)
    out, into = tuple(p for p, _ in shapes), tuple(r for _, r in shapes)
    matrices = [tuple(rng.standard_normal(s) for s in shapes) for _ in range(2)]
    core = rng.standard_normal(into)
    old, new = string.ascii_lowercase[:d], string.ascii_lowercase[d : 2 * d]
    pairs = ",".join(n + o for n, o in zip(new, old, strict=True))

    def loop(own):
        return np.einsum(f"{old},{pairs}->{new}", core, *own)

    np.testing.assert_allclose(contract(core, matrices[0]), loop(matrices[0]))
    coefficient = rng.standard_normal(out)
    shared = (matrices[0][0], *matrices[1][1:])
    rows = Rows(out, into, ((2.0, matrices[0]), (coefficient, shared)))
    expected = 2.0 * loop(matrices[0]) + coefficient * loop(shared)
    np.testing.assert_allclose(rows.apply(core), expected, atol=1e-12)
    dense = rows.dense() @ core.ravel()
    np.testing.assert_allclose(dense.reshape(out), expected, atol=1e-12)
    batch = rows.apply(np.stack([core, -core], axis=-1))
    np.testing.assert_allclose(batch[..., 1], -expected, atol=1e-12)
    other = rng.standard_normal(out)
    left, right = np.vdot(other, expected), np.vdot(rows.adjoint(other), core)
    np.testing.assert_allclose(left, right, atol=1e-10)


def test_scale_and_scattered_equal_loops(rng):
    core = rng.standard_normal((3, 2, 4))
    weights = [rng.random(n) for n in core.shape]
    np.testing.assert_allclose(
        scale(core, weights), np.einsum("ijk,i,j,k->ijk", core, *weights)
    )
    factors = [rng.standard_normal((5, n)) for n in core.shape]
    np.testing.assert_allclose(
        scattered(core, factors), np.einsum("ijk,ni,nj,nk->n", core, *factors)
    )


@pytest.mark.parametrize("bad", [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_diagonalization_inverts_the_kronecker_sum(bad, rng):
    """One axis without eigenvectors is kept whole, a second made triangular."""
    pencils = []
    for k, n in enumerate((4, 3, 5)):
        a, b = rng.standard_normal((2, n, n))
        if k in bad:
            q = np.linalg.qr(rng.standard_normal((n, n)))[0]
            a = b @ q @ np.triu(np.ones((n, n))) @ q.T  # one Jordan block
        elif k == 2:
            a, b = a + a.T, np.eye(n)
        pencils.append(Pencil(a, b, symmetric=k == 2 and k not in bad))
    inverse = Diagonalization(pencils, 0.7)
    assert sorted({inverse.whole, inverse.triangular} - {None}) == list(bad)
    assert inverse.unstable == []
    a, b = [p.a for p in pencils], [p.b for p in pencils]
    total = 0.7 * np.kron(np.kron(b[0], b[1]), b[2])
    for k in range(3):
        own = [a[j] if j == k else b[j] for j in range(3)]
        total = total + np.kron(np.kron(own[0], own[1]), own[2])
    right = rng.standard_normal((4, 3, 5))
    expected = np.linalg.solve(total, right.ravel()).reshape(right.shape)
    np.testing.assert_allclose(inverse.solve(right), expected, atol=1e-9)


def test_condition_of_a_batch(rng):
    matrices = rng.standard_normal((3, 4, 4))
    expected = max(np.linalg.cond(m) for m in matrices)
    np.testing.assert_allclose(condition_of(matrices), expected)
    matrices[1] = 0.0
    assert condition_of(matrices) > 1e300


@pytest.mark.parametrize("memory", [10**9, 8 * 30 * 12])
def test_gmres_equals_a_dense_solve(memory, rng, monkeypatch):
    monkeypatch.setattr("pinns.solvers._krylov.MEMORY", memory)  # restarts or not
    matrix = 4.0 * np.eye(30) + rng.standard_normal((30, 30)) / 3.0
    right = rng.standard_normal((5, 6))

    def apply(x):
        return (matrix @ x.ravel()).reshape(5, 6)

    found = gmres(apply, lambda x: x / 4.0, right, 1e-12, 200)
    expected = np.linalg.solve(matrix, right.ravel()).reshape(5, 6)
    np.testing.assert_allclose(found.solution, expected, atol=1e-11)
    assert found.residual <= 1e-12
    assert 1.0 < found.condition <= np.linalg.cond(matrix) * 1.01
    assert gmres(apply, lambda x: x, 0.0 * right, 1e-12, 9).iterations == 0
    # What is small beside the size that residuals are measured by is left alone.
    large = gmres(apply, lambda x: x, right, 1e-3, 9, size=1e6)
    assert (large.iterations, large.residual < 1e-3) == (0, True)
    assert not large.solution.any()


@pytest.mark.parametrize("inverse", ["good", "poor"])
def test_condition_estimates_are_close_lower_bounds(inverse, rng):
    values = np.geomspace(1.0, 1e-6, 30)
    for _ in range(5):
        left, _ = np.linalg.qr(rng.standard_normal((30, 30)))
        right, _ = np.linalg.qr(rng.standard_normal((30, 30)))
        # Powers of the inverse find the smallest singular value of a normal matrix.
        left = right.T if inverse == "good" else left
        matrix = left @ (values[:, None] * right)
        rough = np.linalg.inv(matrix)
        if inverse == "poor":
            rough = rough + 0.3 * np.abs(rough).max() * rng.standard_normal((30, 30))
        start = np.zeros((5, 6))
        slowest = right[-1].reshape(5, 6)  # as GMRES finds it
        found = condition_estimate(
            lambda x, m=matrix: (m @ x.ravel()).reshape(5, 6),
            lambda y, m=matrix: (m.T @ y.ravel()).reshape(5, 6),
            lambda x, m=rough: (m @ x.ravel()).reshape(5, 6),
            start,
            [None, start, slowest if inverse == "poor" else None],
        )
        assert 0.2 * 1e6 < found <= 1e6 * (1.0 + 1e-6)
    zero = np.zeros((2, 2))
    assert condition_estimate(lambda x: zero, lambda x: x, lambda x: x, zero, []) > 1e99


def test_lsqr_equals_a_dense_least_squares(rng):
    matrix, right = rng.standard_normal((40, 12)), rng.standard_normal(40)
    found = lsqr(lambda x: matrix @ x, lambda y: matrix.T @ y, right, 1e-13, 100)
    expected, *_ = np.linalg.lstsq(matrix, right)
    np.testing.assert_allclose(found.solution, expected, atol=1e-10)
    gap = np.linalg.norm(matrix @ expected - right) / np.linalg.norm(right)
    np.testing.assert_allclose(found.residual, gap, rtol=1e-10)
    zero = lsqr(lambda x: matrix @ x, lambda y: matrix.T @ y, 0.0 * right, 1e-13, 9)
    assert not zero.solution.any()
