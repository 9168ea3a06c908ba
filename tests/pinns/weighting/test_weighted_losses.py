"""Weighted losses, norms and traces against the same written out by hand."""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pinns import CP, MLP, Box, Data, Dirichlet, Initial, Problem
from pinns.evaluation import grid_values, scattered_residual, scattered_values
from pinns.losses import GridLoss
from pinns.solvers.weighted import WeightedFirstOrder
from pinns.weighting import (
    NTK,
    Causal,
    GradientNorm,
    Relobralo,
    SelfAdaptive,
    causal,
    gradient_norm,
    ntk,
)


COUNTS = (4, 3)
POINTS, VALUES = np.array([[0.2, 0.1], [0.7, -0.5]]), np.array([1.0, -1.0])
MODELS = {"cp": CP(rank=2, hidden=(4,)), "mlp": MLP(hidden=(4, 4))}


values_on = jax.jit(grid_values, static_argnums=(0, 1, 4, 5))


def g(t, x):
    return jnp.sin(t) + x


def residual(u, t, x):
    return u.d("t") - 0.5 * u.d("x", 2) + t * u**2 - jnp.cos(x)


@lru_cache
def setup(model: str, axes="tx", slab_values=None, batch_faces=True, samples="uniform"):
    """A problem with its time first or last; what the loss needs; fixed parameters."""
    intervals = {"t": (0.0, 2.0), "x": (-1.0, 1.0)}
    box = Box(**{name: intervals[name] for name in axes})
    columns = [0, 1] if axes == "tx" else [1, 0]
    problem = Problem(
        box,
        residual,
        [
            Initial("t", g, weight=2.0),
            Dirichlet(g, axes="x", weight=3.0),
            Data(POINTS[:, columns], VALUES, weight=0.5),
        ],
        weight=1.5,
    )
    kind = MODELS[model]
    counts = COUNTS if axes == "tx" else COUNTS[::-1]
    loss = GridLoss(
        problem, kind, counts, "float64", slab_values=slab_values,
        batch_faces=batch_faces,
    )  # fmt: skip
    points = box.points(counts, samples, key=jax.random.key(1), dtype="float64")
    params = kind.init(jax.random.key(0), box, dtype="float64")
    return loss, params, jax.jit(loss.prepare)(points), points


def squares(loss, params, points) -> list[np.ndarray]:
    """Squared residuals of residual, initial, both walls, data; time is axis 0."""
    problem, model = loss.problem, loss.model
    flip = problem.box.names[0] == "x"
    t, x = (np.asarray(points[problem.box.axis(n)].coordinates) for n in "tx")

    def values(orders, t, x):
        at, orders = [jnp.asarray(t), jnp.asarray(x)], list(orders)
        if flip:
            at, orders = at[::-1], orders[::-1]
        found = np.asarray(values_on(problem, model, params, at, 0, tuple(orders)))
        return found.T if flip else found

    tt, xx = np.meshgrid(t, x, indexing="ij")
    inner = (
        values((1, 0), t, x) - 0.5 * values((0, 2), t, x)
        + tt * values((0, 0), t, x) ** 2 - np.cos(xx)
    )  # fmt: skip
    zero, ends = np.zeros(1), np.array([-1.0, 1.0])
    start = values((0, 0), zero, x) - np.asarray(g(0.0, x))
    walls = values((0, 0), t, ends) - np.asarray(g(t[:, None], ends[None]))
    seen = [values((0, 0), p[:1], p[1:])[0, 0] for p in POINTS]
    return [inner**2, start**2, walls**2, (np.array(seen) - VALUES) ** 2]


WEIGHTS = [1.5, 2.0, 3.0, 0.5]


@lru_cache
def compiled(kind, model, options):
    """The weighted loss and its slopes, jitted."""
    loss, *_ = setup(model, batch_faces=kind.batch_faces, **dict(options))

    def value(params, trained, prepared, state):
        def total(params, trained):
            key = jax.random.key(3)
            found = kind.total(loss, params, trained, prepared, state, key)
            return found.total, found

        return jax.value_and_grad(total, (0, 1), has_aux=True)(params, trained)

    return jax.jit(value)


def weighed(kind, model="cp", state=None, **options):
    """The total of a scheme, its groups, state and slopes."""
    loss, params, prepared, points = setup(
        model, batch_faces=kind.batch_faces, **options
    )
    if state is None:
        state = kind.init(
            loss.problem, loss.counts, pointwise=model == "mlp", dtype="float64"
        )

    value = compiled(kind, model, tuple(options.items()))
    (_, found), slopes = value(params, kind.trained(state), prepared, state)
    return found, slopes, squares(loss, params, points)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", [SelfAdaptive(), Relobralo()], ids=lambda k: k.name)
def test_weights_of_one_change_nothing(kind, model, x64):
    found, (slope, _), parts = weighed(kind, model)
    means = [np.mean(p) for p in parts]
    np.testing.assert_allclose(found.total, np.dot(WEIGHTS, means), rtol=1e-11)
    np.testing.assert_allclose(found.groups, means, rtol=1e-11)
    loss, params, prepared, _ = setup(model)
    plain = jax.jit(jax.grad(lambda p: loss(p, prepared)[0]))(params)
    for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("cp", {}),
        ("cp", {"slab_values": 6}),
        ("cp", {"axes": "xt", "slab_values": 4}),
        ("cp", {"samples": "gauss_legendre"}),
        ("mlp", {"axes": "xt"}),
    ],
)
def test_causal_loss_equals_the_sum_by_hand(model, options, x64):
    epsilon = 0.3
    found, (slope, _), parts = weighed(Causal(epsilon=epsilon), model, **options)
    loss, params, prepared, points = setup(model, **options)
    axis = loss.problem.box.axis("t")
    assert (loss.plans[0].slabs > 1) == ("slab_values" in options)
    q, p = (
        np.full(n, 1 / n) if w is None else np.asarray(w)
        for n, w in zip(
            COUNTS, [points[axis].weights, points[1 - axis].weights], strict=True
        )
    )
    line = parts[0] @ p
    mean = [q @ line, parts[1][0] @ p, (q @ parts[2]).mean(), parts[3].mean()]
    times = np.asarray(points[axis].coordinates)
    before = [1.5 * line[times < t].sum() + 2.0 * mean[1] for t in times]
    w = np.exp(-epsilon * np.array(before))
    expected = 1.5 * q @ (w * line) + np.dot(WEIGHTS[1:], mean[1:])
    np.testing.assert_allclose(found.total, expected, rtol=1e-11)
    np.testing.assert_allclose(found.groups, mean, rtol=1e-11)
    # The gradient leaves the weights alone.
    reduction, shares = causal.profile(loss, prepared, axis)

    def held(params):
        values = loss.mean_squares(params, prepared, {0: reduction})
        row = values[0].reshape(-1) if axis == 0 else values[0].sum(axis=0)
        return 1.5 * jnp.vdot(shares * w, row) + sum(
            a * b for a, b in zip(WEIGHTS[1:], [values[1], values[2], values[3]],
                                  strict=True)
        )  # fmt: skip

    expected = jax.jit(jax.grad(held))(params)
    for a, b in zip(jax.tree.leaves(slope), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_causal_tolerances_follow_each_other(x64):
    """The next one is taken when every weight exceeds the threshold; the last ends."""
    easy = Causal(epsilon=(1e-9, 50.0), stop=True)
    found, _, _ = weighed(easy)
    assert (int(found.state), bool(easy.finished(found.state))) == (1, False)
    held, _, _ = weighed(easy, state=found.state)
    assert int(held.state) == 1
    final = Causal(epsilon=1e-9, stop=True)
    done, _, _ = weighed(final)
    again, _, _ = weighed(final, state=done.state)
    assert int(done.state) == int(again.state) == 1
    assert bool(final.finished(done.state))
    assert not bool(Causal(epsilon=1e-9).finished(done.state))


@pytest.mark.parametrize(
    ("model", "options"), [("cp", {}), ("cp", {"slab_values": 6}), ("mlp", {})]
)
def test_self_adaptive_loss_and_its_slopes(model, options, x64):
    kind: Any = SelfAdaptive(power=3)
    loss, *_ = setup(model, batch_faces=False, **options)
    state = kind.init(loss.problem, COUNTS, pointwise=model == "mlp", dtype="float64")
    rng = np.random.default_rng(5)
    weights = jax.tree.map(
        lambda w: jnp.asarray(rng.uniform(0.5, 2.0, w.shape)), (state.terms, state.data)
    )
    state = state._replace(terms=weights[0], data=weights[1])
    found, (_, slope), parts = weighed(kind, model, state, **options)

    def full(term):
        arrays = [np.asarray(w) for w in term]
        return arrays[0] if len(arrays) == 1 else np.outer(*arrays)

    masks = [full(term) for term in weights[0]] + [np.asarray(weights[1][0])]
    expected = [np.mean(m**3 * p) for m, p in zip(masks, parts, strict=True)]
    np.testing.assert_allclose(found.total, np.dot(WEIGHTS, expected), rtol=1e-11)
    np.testing.assert_allclose(found.groups, [p.mean() for p in parts], rtol=1e-11)
    # dL/dl = 3 l^2 r^2 / N, summed over the points that share the weight.
    each = [
        w * 3 * m**2 * p / p.size for w, m, p in zip(WEIGHTS, masks, parts, strict=True)
    ]
    np.testing.assert_allclose(slope[1][0], each[3], rtol=1e-10)
    if model == "mlp":
        for term, value in zip(slope[0], each[:3], strict=True):
            np.testing.assert_allclose(term[0], value, rtol=1e-10)
    else:
        for term, ours, value in zip(slope[0], weights[0], each[:3], strict=True):
            other = value * np.asarray(ours[1])[None, :]
            np.testing.assert_allclose(term[0], other.sum(axis=1), rtol=1e-10)
            other = value * np.asarray(ours[0])[:, None]
            np.testing.assert_allclose(term[1], other.sum(axis=0), rtol=1e-10)
    risen = kind.ascend(state, slope)
    assert all(
        (a > b).all()
        for a, b in zip(
            jax.tree.leaves((risen.terms, risen.data)),
            jax.tree.leaves(weights),
            strict=True,
        )
    )


def by_hand(loss, params, points):
    """Residual vectors at scattered points, one per group, as functions of params."""
    problem, model = loss.problem, loss.model
    pinned = [points.at[:, 1].set(end) for end in (-1.0, 1.0)]
    start = points.at[:, 0].set(0.0)

    def gap(p, at):
        return scattered_values(problem, model, p, at) - g(at[:, 0], at[:, 1])

    return [
        lambda p: scattered_residual(problem, model, p, points)[0],
        lambda p: gap(p, start),
        lambda p: jnp.concatenate([gap(p, at) for at in pinned]),
        lambda p: (
            scattered_values(problem, model, p, jnp.asarray(POINTS))
            - jnp.asarray(VALUES)
        ),
    ]


@pytest.mark.parametrize("model", MODELS)
def test_norms_and_traces_equal_those_of_dense_jacobians(model, x64):
    loss, params, prepared, axis_points = setup(model)
    grid = jnp.meshgrid(*(p.coordinates for p in axis_points), indexing="ij")
    points = jnp.stack([x.reshape(-1) for x in grid], axis=1)

    @jax.jit
    def ours(params):
        found = gradient_norm.norms(loss, params, prepared)
        return found, ntk.traces(loss, params, points)

    @jax.jit
    def theirs(params):
        norms, traces = [], []
        for weight, part in zip(WEIGHTS, by_hand(loss, params, points), strict=True):
            r, rows = part(params), jax.jacfwd(part)(params)
            j = jnp.concatenate(
                [x.reshape(r.size, -1) for x in jax.tree.leaves(rows)], axis=1
            )
            norms.append(jnp.linalg.norm(2 * weight * (r @ j) / r.size))
            traces.append(weight * jnp.trace(j @ j.T) / r.size)
        return jnp.stack(norms), jnp.stack(traces)

    for a, b in zip(ours(params), theirs(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_traces_are_sampled_from_the_grid(x64):
    """Means over few points scatter around that of the whole grid."""
    loss, params, prepared, axis_points = setup("cp")
    grid = jnp.meshgrid(*(p.coordinates for p in axis_points), indexing="ij")
    points = jnp.stack([x.reshape(-1) for x in grid], axis=1)
    kind = NTK(samples=300)
    sizes = jax.jit(lambda key: kind.sizes(loss, params, prepared, key))
    found, whole = (
        sizes(jax.random.key(0)),
        jax.jit(ntk.traces, static_argnums=0)(loss, params, points),
    )
    np.testing.assert_allclose(found, whole, rtol=0.15)  # 300 draws from 12 points
    assert not np.array_equal(found, sizes(jax.random.key(1)))


@pytest.mark.parametrize("kind", [GradientNorm(every=2, decay=0.25), NTK(2, 0.25)])
def test_a_step_goes_down_the_weighted_gradient(kind, x64):
    """Two steps of gradient descent by hand; weights change in the first only."""
    loss, params, prepared, _ = setup("cp")
    solver = WeightedFirstOrder(loss, optax.sgd(0.1), kind, jax.random.key(2))
    step = jax.jit(solver.step)
    state = solver.init(params)
    shares = jax.jit(
        jax.jacrev(lambda p: loss.by_group(loss.mean_squares(p, prepared))[0])
    )
    kept = None
    for i in range(2):
        after, rows = step(state, prepared)
        weights = after.optimizer.weighting
        if i == 0:
            key = jax.random.split(jax.random.fold_in(jax.random.key(2), 0))[0]
            sizes = jax.jit(kind.sizes, static_argnums=0)(
                loss, state.params, prepared, key
            )
            expected = 0.25 + 0.75 * np.sum(sizes) / np.asarray(sizes)
            np.testing.assert_allclose(weights, expected, rtol=1e-8)
            kept = weights
        assert np.array_equal(weights, kept)
        moved = jax.tree.map(
            lambda p, j, w=kept: p - 0.1 * jnp.tensordot(w, j, axes=1),
            state.params,
            shares(state.params),
        )
        for a, b in zip(
            jax.tree.leaves(after.params), jax.tree.leaves(moved), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
        total = np.dot(kept, np.multiply(WEIGHTS, rows.groups))
        np.testing.assert_allclose(rows.total, total, rtol=1e-11)
        state = after


def test_a_term_weighed_by_points_needs_its_own_contraction():
    problem = Problem(Box(x=(0.0, 1.0)), lambda u, x: u.d("x"), [Dirichlet(1.0)])
    batched = GridLoss(problem, CP(rank=2), (4,))
    alone = GridLoss(problem, CP(rank=2), (4,), batch_faces=False)
    assert (len(batched.batches), len(alone.batches)) == (1, 0)
