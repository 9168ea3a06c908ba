"""Identities of the losses of variational autoencoders, on a small decoder."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision import losses


ROWS, SIZE, LATENT = 6, 5, 2
SHAPES = {"mean": (SIZE, LATENT), "logs": (SIZE, LATENT), "out": (LATENT, SIZE)}


def network(params, x, noise):
    """A linear encoder, one draw of the latent, a decoder with a tanh."""
    mean, logs = x @ params["mean"], x @ params["logs"]
    z = mean + jnp.exp(logs / 2) * noise
    return jnp.tanh(z @ params["out"]), mean, logs


@pytest.fixture
def case(rng, x64):
    params = {name: jnp.asarray(rng.normal(size=s)) for name, s in SHAPES.items()}
    x = jnp.asarray(rng.normal(size=(ROWS, SIZE)))
    return params, x, jnp.asarray(rng.normal(size=(ROWS, LATENT)))


def gradient(case, loss):
    params, x, noise = case
    return jax.grad(lambda p: loss(x, *network(p, x, noise)))(params)


def close(a, b, rtol=1e-10):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol, 1e-12), a, b)


def bound(variance):
    return lambda *a: -losses.elbo(*a, variance=variance).mean()


@pytest.mark.parametrize("beta", [0.01, 1.0, 7.0])
@pytest.mark.parametrize("variance", [0.5, 2.0])
def test_only_the_product_of_beta_and_variance_matters(case, beta, variance):
    """Equation 5: gradient of the loss = beta times that of -ELBO(beta variance)."""
    loss = gradient(
        case,
        lambda *a: losses.beta_vae_loss(*a, beta=beta, variance=variance).total,
    )
    scaled = jax.tree.map(lambda g: beta * g, gradient(case, bound(beta * variance)))
    close(loss, scaled)


@pytest.mark.parametrize("beta", [0.01, 7.0])
def test_the_optimal_variance_escapes_that_identity(case, beta):
    found = gradient(case, lambda *a: losses.beta_sigma_loss(*a, beta=beta).total)
    for variance in (beta * 0.5, beta, "optimal"):
        other = jax.tree.map(lambda g: beta * g, gradient(case, bound(variance)))
        gaps = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), found, other)
        assert max(jax.tree.leaves(gaps)) > 1e-2


def test_value_is_the_likelihood_at_the_optimal_variance(case):
    params, x, noise = case
    out = network(params, x, noise)
    loss = losses.beta_sigma_loss(x, *out, beta=3.0, epsilon=0.0)
    best = losses.optimal_variance(x, out[0])
    nll = losses.gaussian_nll(x, out[0], best)
    np.testing.assert_allclose(loss.distortion, nll.mean(), rtol=1e-13)
    np.testing.assert_allclose(loss.rate, losses.gaussian_kl(*out[1:]).mean())
    np.testing.assert_allclose(loss.total, loss.distortion + 3 * loss.rate)
    assert float(nll.mean()) < float(losses.gaussian_nll(x, out[0], 0.5).mean())
    np.testing.assert_allclose(
        losses.elbo(x, *out), -(nll + losses.gaussian_kl(*out[1:])), rtol=1e-13
    )


@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_envelope(case, scope):
    """The gradient is that of the likelihood with the variance held fixed."""

    def fixed(x, mean, m, v):
        best = losses.optimal_variance(x, mean, scope=scope)
        nll = losses.gaussian_nll(x, mean, jax.lax.stop_gradient(best))
        return (nll + 2 * losses.gaussian_kl(m, v)).mean()

    found = gradient(
        case,
        lambda *a: losses.beta_sigma_loss(*a, beta=2.0, epsilon=0.0, scope=scope).total,
    )
    close(found, gradient(case, fixed))


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_scaling_images_adds_a_constant(case, scale):
    params, x, noise = case
    mean, *latent = network(params, x, noise)

    def distortion(loss, a, **options):
        return loss(a * x, a * mean, *latent, beta=1.0, **options).distortion

    added = distortion(losses.beta_sigma_loss, scale, epsilon=0.0) - (
        distortion(losses.beta_sigma_loss, 1.0, epsilon=0.0)
    )
    np.testing.assert_allclose(added, SIZE * np.log(scale), rtol=1e-10)
    ratio = distortion(losses.beta_vae_loss, scale) / (
        distortion(losses.beta_vae_loss, 1.0)
    )
    np.testing.assert_allclose(ratio, scale**2, rtol=1e-10)


def test_perfect_reconstruction_is_finite(case):
    params, x, noise = case
    _, *latent = network(params, x, noise)
    loss = losses.beta_sigma_loss(x, x, *latent, beta=1.0)
    expected = SIZE / 2 * (np.log(1e-5) + 1)
    np.testing.assert_allclose(loss.distortion, expected, rtol=1e-12)
    slope = jax.grad(lambda m: losses.beta_sigma_loss(x, m, *latent, beta=1.0).total)(x)
    assert bool(jnp.isfinite(slope).all())


def test_beta_vae_at_one_half_is_the_squared_error(case):
    params, x, noise = case
    mean, *latent = network(params, x, noise)
    loss = losses.beta_vae_loss(x, mean, *latent, beta=0.1)
    square = ((np.asarray(x) - np.asarray(mean)) ** 2).sum(1).mean()
    np.testing.assert_allclose(loss.distortion, square, rtol=1e-12)
    np.testing.assert_allclose(loss.total, square + 0.1 * loss.rate, rtol=1e-12)


def test_variance_between_images_or_shared(case):
    """One variance per image is never less likely than one for all."""
    params, x, noise = case
    x = x * jnp.arange(1.0, ROWS + 1)[:, None]
    out = network(params, x, noise)
    each, shared = (
        losses.beta_sigma_loss(x, *out, beta=1.0, epsilon=0.0, scope=s).distortion
        for s in ("sample", "batch")
    )
    assert float(each) < float(shared) - 0.1


def test_shared_variance_belongs_to_the_global_batch(case):
    params, x, noise = case
    x, noise = (jnp.concatenate([a, a[:2] * 2]) for a in (x, noise))

    def loss(x, noise):
        out = network(params, x, noise)
        return losses.beta_sigma_loss(x, *out, beta=1.0, scope="batch").distortion

    parts = jax.pmap(loss, axis_name="data")(
        x.reshape(4, 2, SIZE), noise.reshape(4, 2, LATENT)
    )
    np.testing.assert_allclose(parts, np.full(4, loss(x, noise)), rtol=1e-12)


def test_linear_decoder_finds_probabilistic_pca(rng, x64):
    """Shared variance: the mean of the discarded eigenvalues (Tipping and Bishop)."""
    scales = np.array([3.0, 2.0, 0.8, 0.6, 0.4])
    rotation = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0]
    x = rng.normal(size=(400, SIZE)) * scales @ rotation
    x = jnp.asarray(x - x.mean(0))
    eigenvalues = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[::-1]
    expected = eigenvalues[LATENT:].mean()

    # For a linear decoder E|x - W z|^2 over the latent has a closed form, the squared
    # error at the mean plus the spread: no noise. The loss sees the root of it.
    def loss(params):
        mean, logs = x @ params["mean"], params["logs"][None]
        logs = jnp.broadcast_to(logs, mean.shape)
        gap = x - mean @ params["out"]
        spread = jnp.exp(logs).mean(0) @ jnp.sum(params["out"] ** 2, 1) / SIZE
        padded = jnp.sqrt(gap**2 + spread)
        return losses.beta_sigma_loss(
            padded, 0 * padded, mean, logs, beta=1.0, epsilon=0.0, scope="batch"
        ).total

    params = {
        "mean": jnp.asarray(rng.normal(size=(SIZE, LATENT))) * 0.1,
        "logs": jnp.zeros(LATENT),
        "out": jnp.asarray(rng.normal(size=(LATENT, SIZE))) * 0.1,
    }
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 1500))

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.jit(
        lambda p: jax.lax.scan(step, (p, optimizer.init(p)), None, 1500)
    )(params)
    gap = x - x @ params["mean"] @ params["out"]
    spread = jnp.exp(params["logs"]) @ jnp.sum(params["out"] ** 2, 1)
    found = (jnp.mean(jnp.sum(gap**2, 1)) + spread) / SIZE
    np.testing.assert_allclose(found, expected, rtol=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -1.0}, "`beta` must not be negative, got -1.0"),
        ({"beta": 1.0, "epsilon": -1e-5}, "`epsilon` must not be negative"),
        ({"beta": 1.0, "scope": "pixel"}, "`scope` must be one of .* got 'pixel'"),
    ],
)
def test_beta_sigma_refuses(options, message):
    one = jnp.ones((2, 3))
    with pytest.raises(ValueError, match="beta_sigma_loss: " + message):
        losses.beta_sigma_loss(one, one, one, one, **options)


def test_others_refuse():
    one = jnp.ones((2, 3))
    with pytest.raises(ValueError, match="beta_vae_loss: `beta` must not be negative"):
        losses.beta_vae_loss(one, one, one, one, beta=-1.0)
    with pytest.raises(ValueError, match="`variance` must be positive, got 0"):
        losses.beta_vae_loss(one, one, one, one, beta=1.0, variance=0)
    with pytest.raises(ValueError, match="elbo: `variance` must be positive, got -1"):
        losses.elbo(one, one, one, one, variance=-1.0)
    with pytest.raises(ValueError, match="a positive number or 'optimal', got 'best'"):
        losses.elbo(one, one, one, one, variance="best")
    with pytest.raises(ValueError, match="`mean` must have the shape of `x`"):
        losses.elbo(one, one[:, :2], one, one)
