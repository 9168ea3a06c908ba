"""Federations of linear models, which closed forms exist for: routing and rounds."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxvision import data, federated, layers, metrics
from jaxvision.federated import Learner, Protocol


RATE = 0.1


def square(w, statistics, rows, counts):
    """Half the mean square of x w - y over the rows that count."""
    gaps = rows["x"] @ w - rows["y"]
    return jnp.sum(counts * gaps**2) / (2 * jnp.sum(counts)), statistics


def exact(w, statistics, rows):
    return (jnp.abs(rows["x"] @ w - rows["y"]) < 0.5).astype(jnp.float32)


def linear_task(protocol, num_nodes, *, width=3, batch_size=64, at_once=0, decay=1.0):
    return federated.federated_task(
        protocol,
        num_nodes,
        lambda key: {"params": jax.random.normal(key, (width,)), "statistics": {}},
        Learner(square, optax.sgd(RATE), batch_size, decay),
        exact,
        nodes_at_once=at_once,
    )


def linear_nodes(sizes, width=3, seed=0):
    """Rows of nodes with unequal sizes, each with a solution of its own."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(sum(sizes), width))
    ends = np.cumsum(sizes)
    parts = np.split(np.arange(sum(sizes)), ends[:-1])
    y = np.concatenate([x[p] @ rng.normal(size=width) for p in parts])
    return data.stack_nodes({"x": x, "y": y}, parts)


def run(task, batch, rounds, seed=0):
    """States before each round and after the last, and the metrics of the rounds."""
    state = task.init(jax.random.key(seed))
    step, states, found = jax.jit(task.step), [state], []
    for i in range(rounds):
        key = jax.random.fold_in(jax.random.key(seed + 1), i)
        state, metric = step(state, batch, key)
        states.append(jax.device_get(state))
        found.append(jax.device_get(metric))
    return states, found


def test_routing(key):
    n = 7
    models = {"w": jnp.arange(n) * 1.0}
    ring = federated.ring(n)
    assert ring.tolist() == [6, 0, 1, 2, 3, 4, 5]
    moved = models
    for _ in range(n):
        moved = federated.send(moved, ring)
    np.testing.assert_array_equal(moved["w"], models["w"])
    draw = jax.jit(jax.vmap(partial(federated.derangement, num_nodes=4)))
    found = np.asarray(draw(jax.random.split(key, 900)))
    np.testing.assert_array_equal(np.sort(found), np.tile(np.arange(4), (900, 1)))
    assert (found != np.arange(4)).all()
    # All nine derangements of four, equally likely: 100 each, deviation 9.4.
    kinds, counts = np.unique(found, axis=0, return_counts=True)
    assert len(kinds) == 9
    assert abs(counts - 100).max() < 40
    assert federated.derangement(key, 1).tolist() == [0]
    routing = federated.derangement(key, n)
    back = federated.send(federated.send(models, routing), federated.inverse(routing))
    np.testing.assert_array_equal(back["w"], models["w"])


def test_average():
    weights = jnp.array([0.5, 0.3, 0.2], jnp.float32)
    same = jnp.tile(jnp.array([0.1, 1e7 / 3]), (3, 1))
    np.testing.assert_array_equal(federated.average(same, weights), same)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    expected = np.tile(np.asarray(weights) @ x, (3, 1))
    np.testing.assert_allclose(federated.average(x, weights), expected, atol=1e-6)


def test_routing_refuses():
    """What would clamp, wrap or scale in silence; inside `jax.jit` shapes alone."""
    models = {"w": jnp.arange(3.0), "b": jnp.ones((3, 2))}
    for source, error, message in (
        ([0, 7, 1], ValueError, "`source` must be from 0 to 2, got values from 0 to 7"),
        ([0, 2, -1], ValueError, "`source` must be from 0 to 2, got values from -1"),
        ([0, 1], ValueError, r"`source` must have shape \(3,\), one per node, got \(2"),
        ([0.0, 1.0, 2.0], TypeError, "send: `source` must be integers, got float32"),
    ):
        with pytest.raises(error, match=message):
            federated.send(models, jnp.array(source))
    for weights, error, message in (
        ([1.0, 1.0, 1.0], ValueError, r"the sum 1, got \[1.0, .* with the sum 3"),
        (
            [0.333, 0.333, 0.333],
            ValueError,
            "have the sum 1, got .* with the sum 0.999",
        ),
        ([1.5, -0.5, 0.0], ValueError, "must not be negative and have the sum 1, got"),
        (
            [np.nan, 0.5, 0.5],
            ValueError,
            "must not be negative and have the sum 1, got",
        ),
        ([0.5, 0.5], ValueError, r"`weights` must have shape \(3,\), .*, got \(2,\)"),
        ([1, 0, 0], TypeError, "average: `weights` must be real floating point, got"),
    ):
        with pytest.raises(error, match=message):
            federated.average(models, jnp.array(weights))
    for wrong, shapes in (({"a": 1.0}, r"\(\)"), (jnp.ones((0, 2)), r"\(0, 2\)")):
        with pytest.raises(
            ValueError, match=f"with one leading axis .* got shapes {shapes}"
        ):
            federated.send(wrong, jnp.arange(3))
    with pytest.raises(ValueError, match=r"got shapes \(2,\), \(3,\)"):
        federated.average([jnp.ones(2), jnp.ones(3)], jnp.ones(2) / 2)
    with pytest.raises(ValueError, match=r"have every node once, got \[1, 1, 0\]"):
        federated.inverse(jnp.array([1, 1, 0]))
    with pytest.raises(
        ValueError, match="`routing` must be from 0 to 1, got values fr"
    ):
        federated.inverse(jnp.array([1, 2]))
    for function in (federated.ring, partial(federated.derangement, jax.random.key(0))):
        with pytest.raises(ValueError, match="`num_nodes` must be a positive integer"):
            function(0)
    with pytest.raises(ValueError, match=r"must have shape \(3,\), one per node"):
        jax.eval_shape(federated.send, models, jnp.arange(2))
    assert federated.average({}, jnp.ones(3) / 3) == {}
    for count in (7, 1000):  # rounded shares are weights
        rows = np.random.default_rng(0).integers(1, 99, count).astype("float32")
        federated.average(jnp.ones(count), jnp.asarray(rows / rows.sum()))


@pytest.mark.parametrize(
    ("epochs", "share", "phases"),
    [
        (10, 0.1, (8, 1, 1)),
        (10, 0.25, (4, 3, 3)),
        (3, 0.1, (1, 1, 1)),
        (10, 0.0, (10, 0, 0)),
        (30, 0.1, (24, 3, 3)),  # 0.1 * 30 is a rounding error above 3
        (7, 0.3, (1, 3, 3)),
    ],
)
def test_phases_add_up(epochs, share, phases):
    found = Protocol(epochs=epochs, rewind_share=share).phases
    assert found == phases
    assert sum(found) == epochs


def affine(batch, node, rate=RATE):
    """The map of one full-batch step at a node, from the normal equations."""
    valid = batch["valid"][node]
    x, y = batch["rows"]["x"][node][valid], batch["rows"]["y"][node][valid]
    matrix = np.eye(x.shape[1]) - rate * x.T @ x / len(x)
    return lambda w: matrix @ w + rate * x.T @ y / len(x)


def times(function, count, w):
    for _ in range(count):
        w = function(w)
    return w


@pytest.mark.usefixtures("x64")
def test_updates_decay_from_round_to_round():
    batch = linear_nodes([5, 9])
    protocol = Protocol("standalone", "none", epochs=2)
    states, _ = run(linear_task(protocol, 2, decay=0.5), batch, 3)
    for i in range(3):
        for node in range(2):
            before, after = (s["models"]["params"][node] for s in states[i : i + 2])
            expected = times(affine(batch, node, RATE * 0.5**i), 2, before)
            np.testing.assert_allclose(after, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("at_once", [0, 1])
def test_rounds_are_products_of_affine_maps(at_once):
    """Full-batch steps on a ring of three nodes: 2 here, 1 where it was, 1 here."""
    batch = linear_nodes([5, 9, 12])
    protocol = Protocol(epochs=4, rewind_share=0.25)
    states, found = run(linear_task(protocol, 3, at_once=at_once), batch, 3)
    step = [affine(batch, k) for k in range(3)]
    models = [np.asarray(states[0]["models"]["params"][0])] * 3
    for number in range(3):
        for j in range(3):
            i = (j - 1) % 3 if number else j
            w = times(step[j], 2, models[j])
            models[j] = times(step[j], 1, times(step[i], 1, w))
        models = [models[(j - 1) % 3] for j in range(3)]
        np.testing.assert_allclose(
            states[number + 1]["models"]["params"], models, rtol=1e-12
        )
        assert states[number + 1]["source"].tolist() == [2, 0, 1]
        assert found[number]["gradient_steps"] == 3 * 4


@pytest.mark.usefixtures("x64")
def test_rewinding_remembers_the_other_node():
    """Lower loss on the data before, at as many steps, for twenty federations."""
    losses = {}
    for rewind in ("previous", "none"):
        task = linear_task(Protocol(rewind=rewind), 2)
        batch = jax.tree.map(
            lambda *x: np.stack(x), *(linear_nodes([20, 20], seed=s) for s in range(20))
        )
        state = jax.vmap(task.init)(jax.random.split(jax.random.key(0), 20))
        state["source"] = jnp.broadcast_to(jnp.array([1, 0], jnp.int32), (20, 2))
        state["round"] = state["round"] + 1
        after, _ = jax.jit(jax.vmap(task.step, (0, 0, None)))(
            state, batch, jax.random.key(1)
        )
        # The model that was trained at node 1 is at node 0 now, and came from there.
        gaps = jnp.einsum(
            "snmd,snd->snm", batch["rows"]["x"], after["models"]["params"]
        )
        losses[rewind] = jnp.mean((gaps - batch["rows"]["y"]) ** 2, axis=2)
    assert (losses["previous"] < losses["none"]).all()


ONE_HOT = data.stack_nodes(
    {"x": np.repeat(np.eye(5, dtype="float32"), 6, 0), "y": np.ones(30, "float32")},
    np.split(np.arange(30), 5),
)


@pytest.mark.parametrize(
    ("topology", "rewind"),
    [("cwt", "previous"), ("rwt", "previous"), ("rwt", "random")],
)
def test_models_see_the_data_of_two_nodes(topology, rewind):
    """Node k moves weight k alone, so that the weights say where a model has been."""
    protocol = Protocol(topology, rewind, epochs=3, evaluate_at="after_training")
    task = linear_task(protocol, 5, width=5, batch_size=4)
    states, found = run(task, ONE_HOT, 4)
    seen_random = []
    for number in range(4):
        before, after = (states[number + i]["models"]["params"] for i in (0, 1))
        source = states[number + 1]["source"]
        # Models have moved at the beginning of the round.
        moved = np.abs(after - np.asarray(before)[source]) > 1e-6
        for j, row in enumerate(moved):
            others = set(np.flatnonzero(row).tolist()) - {j}
            assert row[j]
            if rewind == "previous" and number:
                assert others == {int(source[j])}
            elif rewind == "random" and number:
                assert len(others) == 1
                seen_random.append(others == {int(source[j])})
            else:
                assert not others
        assert found[number]["gradient_steps"] == 5 * 3 * 2
        if number:
            assert (source != np.arange(5)).all()
            assert topology == "rwt" or source.tolist() == [4, 0, 1, 2, 3]
    assert not seen_random or not all(seen_random)


def test_a_share_of_nothing_is_no_rewind(key):
    """Not one operation differs."""
    batch, programs = linear_nodes([5, 9, 7]), []
    for protocol in (Protocol(rewind_share=0.0), Protocol(rewind="none")):
        task = linear_task(protocol, 3, batch_size=4)
        state = jax.eval_shape(task.init, key)
        programs.append(str(jax.make_jaxpr(task.step)(state, batch, key)))
    assert programs[0] == programs[1]


def test_when_a_round_ends():
    """On a ring, where models are is all that differs; an average is one model."""
    batch, found = linear_nodes([5, 9, 7]), []
    for when in ("after_exchange", "after_training"):
        protocol = Protocol("cwt", "none", epochs=2, evaluate_at=when)
        states, _ = run(linear_task(protocol, 3, batch_size=4), batch, 3)
        found.append([s["models"]["params"] for s in states[1:]])
    for moved, still in zip(*found, strict=True):
        assert np.ptp(moved, axis=0).min() > 0
        np.testing.assert_array_equal(moved, still[np.array([2, 0, 1])])


@pytest.mark.parametrize("topology", ["cwt", "fedavg"])
def test_one_node_is_local_training(topology):
    batch = linear_nodes([10])
    states, _ = run(linear_task(Protocol(topology, "none", epochs=5), 1), batch, 2)
    start = np.asarray(states[0]["models"]["params"][0])
    expected = times(affine(batch, 0), 10, start)
    np.testing.assert_allclose(
        states[2]["models"]["params"], [expected], rtol=1e-4, atol=1e-6
    )


class Normalized(nnx.Module):
    """A linear layer on normalized features."""

    def __init__(self, rngs):
        self.norm = layers.BatchNorm(3)
        self.head = layers.linear(3, 1, rngs=rngs)

    def __call__(self, x):
        return self.head(self.norm(x))[:, 0]


def test_short_batches_do_not_disturb_statistics(key):
    """Epochs with a short last batch, against a loop over the rows that there are."""
    graph, params, statistics = layers.split(Normalized(nnx.Rngs(0)))

    def loss(params, statistics, rows, counts):
        model = nnx.merge(graph, params, statistics, copy=True)
        with layers.counted_rows(model, counts):
            gaps = model(rows["x"]) - rows["y"]
        value = jnp.sum(counts * gaps**2) / jnp.sum(counts)
        return value, layers.statistics_of(model)

    batch = jax.tree.map(lambda x: x[0], linear_nodes([10, 13]))
    batch = {"rows": jax.tree.map(np.float32, batch["rows"]), "valid": batch["valid"]}
    batch["rows"]["x"][10:] = 1e4  # filling
    keys = jax.random.split(key, 2)
    learner = Learner(loss, optax.sgd(0.1, momentum=0.9), 4)
    found = jax.jit(partial(federated.train_node, learner))(
        {"params": params, "statistics": statistics},
        batch["rows"],
        batch["valid"],
        keys,
    )
    state, memory = (params, statistics), learner.optimizer.init(params)
    slope = jax.jit(jax.value_and_grad(loss, has_aux=True))
    for k in keys:
        rank = np.where(batch["valid"], jax.random.uniform(k, (13,)), 2)
        order = np.argsort(rank)[:10]
        for rows in (order[:4], order[4:8], order[8:]):
            chosen = jax.tree.map(lambda x: x[rows], batch["rows"])  # noqa: B023
            (_, after), gradient = slope(*state, chosen, jnp.ones(len(rows)))
            updates, memory = learner.optimizer.update(gradient, memory, state[0])
            state = (optax.apply_updates(state[0], updates), after)
    assert found.steps == 6
    for ours, theirs in zip(
        jax.tree.leaves((found.model["params"], found.model["statistics"])),
        jax.tree.leaves(state),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert not np.allclose(found.model["statistics"]["norm"]["var"], 1)


@pytest.mark.parametrize("average", [True, False])
def test_averages_count_rows(average):
    """Full-batch steps, means of y as statistics: both by hand."""

    def loss(w, mean, rows, counts):
        value, _ = square(w, mean, rows, counts)
        return value, mean + jnp.sum(counts * rows["y"]) / jnp.sum(counts)

    task = federated.federated_task(
        Protocol("fedavg", "none", epochs=2, average_statistics=average),
        2,
        lambda key: {"params": jnp.ones(3), "statistics": jnp.zeros(())},
        Learner(loss, optax.sgd(RATE), 64),
        exact,
    )
    batch = linear_nodes([10, 30])
    states, _ = run(task, batch, 1)
    models = [times(affine(batch, k), 2, np.ones(3)) for k in (0, 1)]
    expected = models[0] / 4 + models[1] * 3 / 4
    found = states[1]["models"]
    np.testing.assert_allclose(found["params"], [expected] * 2, rtol=1e-5, atol=1e-6)
    means = [2 * batch["rows"]["y"][k][batch["valid"][k]].mean() for k in (0, 1)]
    joined = [means[0] / 4 + means[1] * 3 / 4] * 2
    np.testing.assert_allclose(
        found["statistics"], joined if average else means, rtol=1e-5
    )


def test_nodes_follow_their_schedules():
    """Rows of other tasks than the present one are not trained on."""
    batch = dict(ONE_HOT)
    batch["rows"] = {
        **batch["rows"],
        "x": np.tile(np.eye(5, dtype="f4")[:3], (5, 2, 1)),
    }
    batch["task"] = np.tile(np.arange(3), (5, 2))
    batch["schedule"] = np.array([[0, 1], [1, 0], [2, 2], [0, 2], [1, 1]])
    protocol = Protocol("standalone", "none", epochs=1)
    states, found = run(linear_task(protocol, 5, width=5, batch_size=2), batch, 3)
    for number, now in enumerate((0, 1, 1)):
        before, after = (states[number + i]["models"]["params"] for i in (0, 1))
        moved = np.abs(after - np.asarray(before)) > 0
        expected = batch["schedule"][:, now][:, None] == np.arange(5)
        np.testing.assert_array_equal(moved, expected)
        assert found[number]["gradient_steps"] == 5


def test_accuracy_matrix():
    """Model by node, counted by a loop."""
    batch = linear_nodes([5, 9, 7])
    models = {"params": jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)))}
    models["statistics"] = {}
    found = federated.accuracy_matrix(
        exact, models, batch["rows"], batch["valid"], batch_size=2, models_at_once=3
    )
    for i in range(4):
        for j in range(3):
            valid = batch["valid"][j]
            gaps = batch["rows"]["x"][j] @ models["params"][i] - batch["rows"]["y"][j]
            share = np.mean(np.abs(gaps[valid]) < 0.5)
            np.testing.assert_allclose(found[i, j], share, rtol=1e-6)


def test_metrics_of_matrices():
    matrix = np.array([[0.9, 0.2, 0.4], [0.5, 0.8, 0.3], [0.1, 0.6, 0.7]])
    gaps = matrix - 0.5
    np.testing.assert_allclose(metrics.federated_accuracy(matrix), 0.5, rtol=1e-6)
    np.testing.assert_allclose(metrics.personalized_accuracy(matrix), 0.8, rtol=1e-6)
    np.testing.assert_allclose(
        metrics.federated_forgetting(matrix), np.sqrt((gaps**2).sum() / 8), rtol=1e-6
    )
    # One model for all: FA = PFA, and FF in closed form.
    row = np.array([0.9, 0.2, 0.4])
    same = np.tile(row, (3, 1))
    np.testing.assert_allclose(
        metrics.federated_accuracy(same), metrics.personalized_accuracy(same), rtol=1e-6
    )
    spread = np.sqrt(3 * ((row - row.mean()) ** 2).sum() / 8)
    np.testing.assert_allclose(metrics.federated_forgetting(same), spread, rtol=1e-6)
    with pytest.raises(TypeError, match="federated_accuracy: `matrix` must be real"):
        metrics.federated_accuracy(np.eye(2, dtype=int))
    with pytest.raises(ValueError, match=r"\(models, nodes\), got shape \(2,\)"):
        metrics.federated_accuracy(np.ones(2))
    with pytest.raises(ValueError, match=r"at least two entries, got shape \(1, 1\)"):
        metrics.federated_forgetting(np.ones((1, 1)))
    with pytest.raises(ValueError, match=r"must be square, .*, got shape \(1, 2\)"):
        metrics.personalized_accuracy(np.ones((1, 2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topology": "star"}, r"`topology` must be one of \('cwt', .*, got 'star'"),
        ({"rewind": "next"}, "`rewind` must be one of .*, got 'next'"),
        ({"evaluate_at": "end"}, "`evaluate_at` must be one of .*, got 'end'"),
        ({"epochs": 0}, "`epochs` must be a positive integer, got 0"),
        ({"epochs": 2}, "`epochs` must leave one before the rewind, got 2, of which 1"),
        ({"rewind_share": 0.5}, r"`rewind_share` must be in \[0, 0.5\), got 0.5"),
        (
            {"topology": "standalone"},
            "`rewind` must be 'none' with topology='standalone', .*, got 'previous'",
        ),
        (
            {"topology": "fedavg"},
            "`rewind` must be 'random' or 'none' with topology='fedavg': .*'previous'",
        ),
        (
            {"rewind": "none", "rewind_share": 0.2},
            "`rewind_share` must be left as it is with rewind='none', .*, got 0.2",
        ),
        (
            {"average_statistics": False},
            "`average_statistics` must be left as it is with topology='cwt'",
        ),
    ],
)
def test_protocol_refuses(options, message):
    with pytest.raises(ValueError, match="federated.Protocol: " + message):
        Protocol(**options)


def test_task_refuses(key):
    with pytest.raises(ValueError, match="`nodes_at_once` must be 0 or a divisor"):
        linear_task(Protocol(), 4, at_once=3)
    with pytest.raises(ValueError, match="must be 1 with topology='joint', got 2"):
        linear_task(Protocol("joint", "none"), 2)
    task, batch = linear_task(Protocol(), 4), linear_nodes([5, 9, 7])
    state = task.init(key)
    with pytest.raises(ValueError, match="the data of 4 nodes, got those of 3"):
        jax.eval_shape(task.step, state, batch, key)
