import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcore import training
from tests.jaxcore.training import _simple, _toy


# Between them: both optimizers, both dtypes, padding and none, accumulation and none.
CASES = [
    {"optimizer": "sgd"},
    {"optimizer": "adam", "accumulate": 2, "last": "drop"},
    {"optimizer": "sgd", "accumulate": 2, "dtype": "float64"},
    {"optimizer": "adam", "dtype": "float64"},
]


@pytest.fixture(scope="module")
def one_device():
    found = {}

    def get(case):
        name = str(case)
        if name not in found:
            found[name] = _toy.run(case)
        return found[name]

    return get


@pytest.mark.parametrize("parallel", ["pmap", "sharded"])
@pytest.mark.parametrize(
    ("devices", "case"),
    [(1, CASES[0]), (2, CASES[0]), (2, CASES[1]), *((4, case) for case in CASES)],
)
def test_equal_to_one_device(case, parallel, devices, one_device):
    found = _toy.run(case, parallel=parallel, devices=devices)
    expected = one_device(case)
    tight = 1e-12 if case.get("dtype") == "float64" else 1e-6
    assert _toy.relative(found["gradient"], expected["gradient"]) < tight
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-4)
    assert _toy.relative(found["state"], expected["state"]) < 1e-4
    assert expected["loss"][-1] < 0.7 * expected["loss"][0]


def mapped(function, *arguments):
    return jax.pmap(function, axis_name="data")(*arguments)


def test_gradient_is_a_mean_and_no_sum():
    # The trap of `shard_map`: a gradient that is already summed grows with devices.
    x = jnp.arange(8.0).reshape(4, 2)
    gradient = training.value_and_grad(lambda w, x, key: jnp.mean(w * x))
    _, found = mapped(lambda x: gradient(2.0, x, jax.random.key(0)), x)
    np.testing.assert_allclose(found, np.full(4, 3.5), rtol=1e-6)


def test_mean_over_devices():
    found = mapped(
        lambda i: training.mean_over_devices({"i": i, "odd": i % 2 == 1}), jnp.arange(4)
    )
    assert found["i"].tolist() == [1.5] * 4
    assert found["odd"].tolist() == [0.5] * 4
    tree = {"loss": 3}
    assert training.mean_over_devices(tree) is tree


def test_axis_name_follows_the_trace():
    seen = []

    @jax.jit
    def inner(x):
        seen.append(training.axis_name())
        return x

    inner(1.0)
    mapped(inner, jnp.zeros(2))
    assert seen == [None, "data"]


@given(st.integers(0, 2**31), st.lists(st.booleans(), min_size=8, max_size=8))
def test_masked_mean_of_any_mask(seed, mask):
    values = np.random.default_rng(seed).normal(size=(8, 3)).astype(np.float32)
    mask = np.array(mask, np.float32)
    values[mask == 0] = np.nan
    expected = values[mask == 1].astype(np.float64).mean() if mask.any() else 0.0
    whole = training.masked_mean(jnp.asarray(values), jnp.asarray(mask))
    np.testing.assert_allclose(whole, expected, rtol=1e-5, atol=1e-6)
    parts = PARTS(values.reshape(4, 2, 3), mask.reshape(4, 2))
    np.testing.assert_allclose(parts, np.full(4, expected), rtol=1e-5, atol=1e-6)


PARTS = jax.pmap(
    lambda v, m: training.mean_over_devices(training.masked_mean(v, m)),
    axis_name="data",
)
MOMENTS = jax.pmap(training.batch_moments, axis_name="data")


@given(st.integers(0, 2**31), st.integers(1, 8))
def test_batch_moments_leave_padding_out(seed, valid):
    x = np.random.default_rng(seed).normal(2.0, 3.0, size=(8, 5, 3))
    mask = (np.arange(8) < valid).astype(np.float32)
    expected = x[:valid].mean((0, 1)), x[:valid].var((0, 1))
    x = np.where(mask[:, None, None] > 0, x, np.nan).astype(np.float32)
    whole = training.batch_moments(jnp.asarray(x), jnp.asarray(mask))
    parts = MOMENTS(x.reshape(4, 2, 5, 3), mask.reshape(4, 2))
    for one, part, reference in zip(whole, parts, expected, strict=True):
        np.testing.assert_allclose(one, reference, rtol=2e-4, atol=1e-5)
        np.testing.assert_allclose(part[0], reference, rtol=2e-4, atol=1e-5)


def test_batch_moments_without_mask(rng):
    x = rng.normal(size=(6, 3)).astype(np.float32)
    mean, variance = training.batch_moments(jnp.asarray(x))
    np.testing.assert_allclose(mean, x.mean(0), atol=1e-6)
    np.testing.assert_allclose(variance, x.var(0), rtol=1e-5)


def test_masks_are_weights(rng):
    x = rng.normal(size=(6, 4, 3)).astype(np.float32)
    mask = np.array([0.5, 0.0, 2.0, 1.0, 0.0, 0.25], np.float32)
    x[mask == 0] = np.nan
    valid, weights = x[mask > 0].astype(np.float64), mask[mask > 0]
    mean = np.average(valid.mean(1), axis=0, weights=weights)
    variance = np.average(((valid - mean) ** 2).mean(1), axis=0, weights=weights)
    np.testing.assert_allclose(training.masked_mean(x, mask), mean.mean(), rtol=1e-5)
    found = training.batch_moments(x, mask)
    np.testing.assert_allclose(found, [mean, variance], rtol=1e-5)
    parts = MOMENTS(x.reshape(2, 3, 4, 3), mask.reshape(2, 3))
    np.testing.assert_allclose([p[0] for p in parts], [mean, variance], rtol=1e-5)

    def total(x):
        return training.masked_mean(x, mask) + sum(
            map(sum, training.batch_moments(x, mask))
        )

    slope = np.asarray(jax.grad(total)(x))
    assert np.isfinite(slope).all()
    assert not slope[mask == 0].any()


@pytest.mark.parametrize(
    ("values", "mask", "expected"),
    [
        (np.zeros((2, 0)), np.ones(2), 0.0),
        (np.zeros((0, 3)), np.ones(0), 0.0),
        (np.array([[1, 2], [4, 9]]), np.array([True, False]), 1.5),
        ([1, 3, 9], [1, 1, 0], 2.0),
    ],
)
def test_masked_mean_of_empty_rows_integers_and_lists(values, mask, expected):
    found = training.masked_mean(values, mask)
    assert (float(found), found.dtype) == (expected, jnp.float32)


def test_batch_moments_of_integers():
    mean, variance = training.batch_moments([[1, 0], [3, 0], [9, 9]], [1, 1, 0])
    assert (mean.tolist(), variance.tolist()) == ([2.0, 0.0], [1.0, 0.0])


@pytest.mark.parametrize(
    ("function", "shape", "mask", "message"),
    [
        ("masked_mean", (3, 2), (2,), r"`mask` must have shape \(3,\).* got \(2,\)"),
        ("masked_mean", (3,), (3, 1), r"`mask` must have shape .* got \(3, 1\)"),
        ("masked_mean", (), (), r"`values` must have shape \(b, ...\), got \(\)"),
        ("batch_moments", (3, 2), (2,), r"`mask` must have shape \(3,\).* got \(2,\)"),
        ("batch_moments", (), (), r"`x` must have shape \(b, ..., c\), got \(\)"),
        ("batch_moments", (3,), (3,), r"`x` must have shape .* got \(3,\)"),
    ],
)
def test_masks_of_another_shape_are_refused(function, shape, mask, message):
    with pytest.raises(ValueError, match=f"jaxcore.training.{function}: {message}"):
        getattr(training, function)(jnp.ones(shape), jnp.ones(mask))


def test_keys_differ_per_device_and_rows_do_not(key):
    def draw(i):
        own = training.device_key(key)
        return (
            jax.random.key_data(own),
            jax.random.key_data(training.shared_key(own)),
            jax.random.key_data(training.row_keys(own, 3)),
        )

    own, shared, rows = mapped(draw, jnp.arange(4))
    assert len({tuple(k) for k in np.asarray(own).tolist()}) == 4
    assert own[0].tolist() == jax.random.key_data(key).tolist()
    assert (np.asarray(shared) == np.asarray(jax.random.key_data(key))).all()
    expected = jax.random.key_data(training.row_keys(key, 12))
    assert (np.asarray(rows).reshape(12, -1) == np.asarray(expected)).all()
    again = mapped(draw, jnp.arange(4))[0]
    assert (np.asarray(own) == np.asarray(again)).all()


def test_step_gets_a_key_per_device():
    def step(state, batch, key):
        data = jnp.sum(jax.random.key_data(key).astype(jnp.float32))
        spread = training.mean_over_devices(data**2)
        spread = spread - training.mean_over_devices(data) ** 2
        return state, {"spread": spread}

    task = training.Task(lambda key: jnp.zeros(()), step)
    spread = [
        _simple.fit(2, task=task, parallel=p, log=training.Log(every=2)).metrics[
            "spread"
        ]
        for p in ("pmap", "pmap", "sharded")
    ]
    assert spread[0] > 0
    assert spread == [spread[0], spread[0], 0.0]


def test_state_that_differs_between_devices_is_found():
    def step(state, batch, key):
        return {"w": state["w"] + jnp.mean(batch["x"])}, {"loss": jnp.zeros(())}

    task = training.Task(lambda key: {"w": jnp.zeros(())}, step)
    with pytest.raises(ValueError, match=r"different values of state\['w'\]"):
        _simple.fit(3, task=task, parallel="pmap")
    assert _simple.fit(3, task=task, parallel="sharded").step == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parallel": "none", "devices": 2}, "must be one device with parallel='none'"),
        ({"parallel": "pmap", "devices": 99}, "must be between 1 and the .* got 99"),
        ({"parallel": "pmap", "devices": 0}, "must be between 1 and the .* got 0"),
        ({"parallel": "sharded", "devices": []}, "must be distinct devices"),
        ({"parallel": "pmap", "devices": 3}, "divisible by .* got 8 rows for 3 x 1"),
        ({"parallel": "pmap", "accumulate": 4}, "divisible .* got 8 rows for 4 x 4"),
        (
            {"parallel": "tpu"},
            "`parallel` must be one of none, pmap, sharded, got 'tpu'",
        ),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        _simple.fit(1, **options)


@pytest.mark.parametrize(
    "devices", ["cpu", [0], 2.0, True, jax.devices()[0], [jax.devices()[0], None]]
)
def test_devices_of_another_kind_are_refused(devices):
    with pytest.raises(TypeError, match=r"`devices` must be a number .* or a list"):
        _simple.fit(1, devices=devices)


def test_row_keys_refuse_what_they_cannot_use(key):
    for rows in (-1, 2.0, True):
        with pytest.raises(ValueError, match=f"`rows` must be an .* got {rows}"):
            training.row_keys(key, rows)
    for other in (jax.random.PRNGKey(0), jax.random.split(key), 3):
        with pytest.raises(TypeError, match="row_keys: `key` must be a typed random"):
            training.row_keys(other, 2)
    assert training.row_keys(key, np.int64(2)).shape == (2,)


def test_one_of_several_devices():
    last = jax.devices()[-1]
    found = _simple.fit(1, devices=[last]).state["params"]["a"]
    assert found.devices() == {last}


def test_entries_of_an_axis_are_split_over_devices():
    """Each of four devices holds its own two of eight entries within the step."""
    seen = []

    def step(state, batch, key):
        entries = training.split_over_devices(state * 2)
        jax.debug.inspect_array_sharding(entries, callback=seen.append)
        return jax.vmap(jnp.sin)(entries), {}

    state = jnp.arange(8.0)
    task = training.Task(lambda key: state, step)
    for parallel, devices in (("sharded", 4), ("none", 1), ("pmap", 4)):
        seen.clear()
        found = training.fit(
            task, None, 1, key=jax.random.key(0), parallel=parallel, devices=devices
        )
        np.testing.assert_allclose(found.state, jnp.sin(state * 2), rtol=1e-6)
        if parallel == "sharded":
            assert {s.shard_shape((8,)) for s in seen} == {(2,)}
    np.testing.assert_array_equal(training.split_over_devices(state), state)
