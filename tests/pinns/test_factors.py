"""Parameter counts of the spec, initial distributions, and every network kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinns import CP, MLP, Box, TensorTrain, Tucker
from pinns.derivatives import jet
from pinns.factors import FIXED, NETWORKS


BOX = Box.cube(3)


@pytest.mark.parametrize(
    ("model", "dimension", "count"),
    [
        (CP(rank=32), 3, 9_696),
        (CP(rank=12), 5, 2_460),
        (CP(rank=32, network="modified_mlp", hidden=(64, 64, 64)), 3, 44_832),
        # Two ends of 3,232 and a middle head of 32 x 32^2 + 32^2 after 2 x 1,056 + 64.
        (TensorTrain(rank=32), 3, 2 * 3_232 + 64 + 2 * 1_056 + 32 * 1024 + 1024),
        (Tucker(rank=32), 3, 9_696 + 32**3),
        (TensorTrain(rank=(4, 3)), 3, None),
        (Tucker(rank=(4, 3, 2)), 3, None),
        (MLP(hidden=(64, 64, 64)), 3, 4 * 64 + 2 * 65 * 64 + 65),
    ],
)
def test_parameter_counts(model, dimension, count):
    box = Box.cube(dimension)
    params = jax.jit(lambda key: model.init(key, box))(jax.random.key(0))
    allocated = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert model.num_parameters(box) == allocated
    if count is not None:
        assert allocated == count


def test_four_dense_layers_the_last_linear():
    params = CP(rank=32).init(jax.random.key(0), BOX)["factors_32"]
    shapes = [layer["kernel"].shape for layer in params["layers"]]
    assert shapes == [(3, 1, 32), (3, 32, 32), (3, 32, 32), (3, 32, 32)]
    assert all((layer["bias"] == 0).all() for layer in params["layers"])


@pytest.mark.parametrize(
    ("model", "uniform"), [(CP(rank=48), False), (TensorTrain(rank=48), True)]
)
def test_default_initializers(model, uniform):
    params = model.init(jax.random.key(1), BOX)["factors_48"]
    kernel = np.asarray(params["layers"][1]["kernel"]).ravel()
    deviation = np.sqrt(2.0 / (48 + 48))
    assert abs(kernel.std() / deviation - 1.0) < 0.03
    # A uniform distribution ends at sqrt(3) deviations, a truncated normal at 2.27.
    assert (np.abs(kernel).max() < 1.7321 * deviation) == uniform


def test_tucker_core_starts_orthogonal():
    core = Tucker(rank=(3, 4, 5)).init(jax.random.key(0), BOX)["core"][0]
    flat = np.asarray(core).reshape(12, 5)
    np.testing.assert_allclose(flat.T @ flat, np.eye(5), atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_are_finite_with_finite_jets(network):
    hidden = (8,) if network in FIXED else (8, 8)
    model = CP(rank=5, network=network, hidden=hidden)
    params = model.init(jax.random.key(0), BOX)
    x = np.linspace(0.0, 1.0, 7, dtype=np.float32)

    def squares(params):
        jets = model.factors(params, BOX, [x, x, x], 2)[0]
        return sum(jnp.sum(value**2) for jet in jets for value in jet)

    @jax.jit
    def both(params):
        jets = jnp.stack(model.factors(params, BOX, [x, x, x], 3)[0][0])
        return jets, jax.grad(squares)(params)

    jets, gradient = both(params)
    assert jets.shape == (4, 7, 5)
    assert np.isfinite(jets).all()
    # Of those, frequencies, and layers and periods, are fixed: see below.
    if network not in ("random_features", "spectral"):
        # Every parameter takes part.
        assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("network", ["siren", "fourier_features", "rbf"])
def test_normalized_networks_do_not_depend_on_units(network):
    small, large = Box(x=(0.0, 1.0)), Box(x=(-500.0, 1500.0))
    model = CP(rank=3, network=network, hidden=(8,))
    params = model.init(jax.random.key(0), small)
    s = jnp.linspace(0.0, 1.0, 5)
    (a,) = model.factors(params, small, [s], 0)[0][0]
    (b,) = model.factors(params, large, [-500.0 + 2000.0 * s], 0)[0][0]
    np.testing.assert_allclose(a, b, atol=2e-3)


def test_modified_mlp_mixes_its_gates():
    """One gated layer by hand: H = (1 - Z) U + Z V."""
    model = CP(rank=2, network="modified_mlp", hidden=(3,))
    box = Box(x=(0.0, 1.0))
    params = model.init(jax.random.key(0), box)
    net = jax.tree.map(lambda leaf: np.asarray(leaf[0]), params["factors_2"])
    x = np.linspace(0, 1, 4)[:, None]

    def dense(layer, h):
        return h @ layer["kernel"] + layer["bias"]

    u, v, h = (np.tanh(dense(net[n], x)) for n in ("gate_u", "gate_v", "first"))
    z = np.tanh(dense(net["layers"][0], h))
    expected = dense(net["layers"][1], (1 - z) * u + z * v)
    got = model.factors(params, box, [jnp.asarray(x[:, 0])], 0)[0][0][0]
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CP(rank=-3), r"pinns.CP: `rank` must be a positive integer, got -3"),
        (lambda: CP(rank=0), "`rank` must be a positive integer, got 0"),
        (lambda: CP(rank=2.5), "`rank` must be a positive integer, got 2.5"),
        (lambda: CP(rank=()), "`rank` must not be empty"),
        (
            lambda: CP(rank=(3, 3)),
            r"pinns.CP: `rank` must be one integer, got \(3, 3\)",
        ),
        (
            lambda: TensorTrain(rank=(3, 3, 3)).shapes(3),
            r"one integer or one per bond \(2 here\), got \(3, 3, 3\)",
        ),
        (lambda: Tucker(rank=(3,)).shapes(3), r"one per axis \(3 here\), got \(3,\)"),
        (lambda: CP(network="lstm"), "`network` must be one of mlp, .*, got 'lstm'"),
        (lambda: CP(activation="relu6"), "`activation` must be one of tanh"),
        (lambda: CP(initializer="ones"), "`initializer` must be one of glorot_normal"),
        (lambda: CP(hidden=()), "`hidden` must be a non-empty tuple"),
        (lambda: CP(hidden=(8, 0)), "`hidden` must be a positive integer, got 0"),
        (lambda: CP(omega=3.0), "`omega` belongs to network='siren'"),
        (lambda: CP(sigma=3.0), "`sigma` belongs to network='fourier_features'"),
        (lambda: CP(network="siren", omega=-1.0), "`omega` must be positive, got -1.0"),
        (
            lambda: CP(network="siren", activation="tanh"),
            "a siren has its own activation",
        ),
        (
            lambda: CP(network="fourier_features", hidden=(7,)),
            "must be even, got 7",
        ),
        (
            lambda: CP(network="modified_mlp", hidden=(8, 4)),
            r"need equal `hidden` widths, got \(8, 4\)",
        ),
        (lambda: MLP(hidden=(0,)), "pinns.MLP: `hidden` must be a positive integer"),
        (lambda: MLP(activation="x"), "pinns.MLP: `activation` must be one of"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("network", "vandermonde"),
    [
        ("chebyshev", np.polynomial.chebyshev.chebvander),
        ("legendre", np.polynomial.legendre.legvander),
    ],
)
def test_polynomial_bases(network, vandermonde, x64):
    model = CP(rank=2, network=network, hidden=(9,))
    box = Box(x=(1.0, 3.0))
    params = model.init(jax.random.key(0), box, dtype="float64")
    x = jnp.linspace(1.0, 3.0, 7)
    (features,) = model.stacked_factors(params, box, x[None, :], 2, features=True)
    s = np.linspace(-1.0, 1.0, 7)
    basis = vandermonde(s, 8)
    np.testing.assert_allclose(features[0][0, 0], basis, atol=1e-14)
    series = {"chebyshev": np.polynomial.Chebyshev, "legendre": np.polynomial.Legendre}
    for k in range(9):
        second = series[network].basis(k).deriv(2)(s)
        np.testing.assert_allclose(features[2][0, 0][:, k], second, atol=1e-9)


def test_fourier_basis_is_periodic_and_random_features_are_fixed(x64):
    box = Box(x=(0.0, 2.0))
    model = CP(rank=2, network="fourier", hidden=(5,))
    params = model.init(jax.random.key(0), box, dtype="float64")
    ends = jnp.array([[0.0, 2.0]])
    values, slopes = model.stacked_factors(params, box, ends, 1)[0]
    np.testing.assert_allclose(values[0, 0, 0], values[0, 0, 1], atol=1e-13)
    np.testing.assert_allclose(slopes[0, 0, 0], slopes[0, 0, 1], atol=1e-12)
    model = CP(rank=2, network="random_features", hidden=(5,), sigma=3.0)
    params = model.init(jax.random.key(0), box, dtype="float64")

    def total(params):
        return sum(
            jnp.sum(jet) for jet in model.stacked_factors(params, box, ends, 0)[0]
        )

    gradient = jax.grad(total)(params)["factors_2"]
    assert not gradient["frequencies"].any()
    assert not gradient["phases"].any()
    assert gradient["kernel"].any()


def test_spectral_functions_are_chosen_axis_by_axis(x64):
    """Without a layer Chebyshev polynomials, or Fourier functions; only they differ."""
    ends, x = jnp.array([0.0, 2.0]), jnp.linspace(0.0, 2.0, 6)
    net = CP(rank=3, network="spectral", hidden=(5,)).net
    params = net.init(jax.random.key(0), 3, ends, "float64")
    for name, flag in (("chebyshev", 0.0), ("fourier", 1.0)):
        other = CP(rank=3, network=name, hidden=(5,)).net
        found = net.features({**params, "periodic": jnp.asarray(flag)}, x, ends)
        expected = other.features(params, x, ends)
        np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-13)
    layered = {**params, "center": jnp.asarray(0.5), "sharpness": jnp.asarray(40.0)}
    found = net.features(layered, jnp.array([0.0, 1.5, 2.0]), ends)[:, 1]
    low, high = np.arcsinh([-60.0, 20.0])
    expected = [-1.0, -2.0 * low / (high - low) - 1.0, 1.0]
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-13)
    gradient = jax.grad(lambda p: jnp.sum(net.apply(p, x, ends) ** 2))(layered)
    assert not any(gradient[n] for n in ("periodic", "center", "sharpness"))


@pytest.mark.parametrize("network", NETWORKS)
def test_features_times_output_are_the_factors(network, x64):
    hidden = (6,) if network in FIXED else (6, 6)
    net = CP(rank=3, network=network, hidden=hidden).net
    ends = jnp.array([0.0, 2.0])
    params = net.init(jax.random.key(0), 3, ends, "float64")
    x = jnp.linspace(0.0, 2.0, 4)
    features = net.features(params, x, ends)
    assert features.shape == (4, net.num_features)
    output = jnp.arange(3.0 * net.num_features).reshape(-1, 3)
    replaced = net.with_output(params, output)
    np.testing.assert_allclose(net.output(replaced), output)
    np.testing.assert_allclose(
        net.apply(replaced, x, ends), features @ output, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": (4, 4)}, "takes one `hidden` width"),
        ({"hidden": (4,), "activation": "tanh"}, "a fixed basis has no `activation`"),
        ({"hidden": (4,), "sigma": 2.0}, "`sigma` belongs to network="),
    ],
)
def test_fixed_bases_refuse_what_they_do_not_have(options, message):
    with pytest.raises(ValueError, match=message):
        CP(rank=2, network="legendre", **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation": "sin", "normalize": True},
        {"network": "siren", "omega": 3.0},
        {"network": "modified_mlp"},
    ],
)
def test_jets_are_nested_derivatives(options, x64):
    """By Taylor coefficients where a network has them, by nested ones elsewhere."""
    net = CP(rank=3, hidden=(5, 5), **options).net
    ends = jnp.array([-1.0, 3.0])
    params = net.init(jax.random.key(0), 3, ends, "float64")
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    x = jnp.linspace(-1.0, 3.0, 6)
    for features, function in ((False, net.apply), (True, net.features)):
        own, plain = jax.jit(
            lambda p, features=features, function=function: (
                net.jets(p, x, ends, 3, features=features),
                jet(lambda s: function(p, s, ends), x, 3),
            )
        )(params)
        for a, b in zip(own, plain, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
