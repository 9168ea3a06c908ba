"""One-dimensional factor networks: a coordinate array (n,) to features (n, width).

Five kinds, all pure functions of `(params, x)`:

- `mlp`: Dense + activation for every hidden width, then a linear Dense.
- `modified_mlp`: two gates `U`, `V` mix into every hidden layer (Wang, Teng,
  Perdikaris 2021, eq. 43; the default network of SPINN, NeurIPS 2023).
- `siren`: sine activations with the frequency scale `omega` on the first layer and
  the matching uniform initialization (Sitzmann et al. 2020, section 3.2).
- `fourier_features`: `[cos 2 pi B s, sin 2 pi B s]` with `B ~ N(0, sigma^2)`, then an
  `mlp` (Tancik et al. 2020, eq. 5). The frequencies `B` are trained along.
- `rbf`: Gaussians `exp(-((s - c_k) / width_k)^2)` with trained centers and widths,
  then an `mlp`. The first hidden width is the number of Gaussians.

and four fixed bases, whose only trained numbers are the coefficients, so that the
rest of the problem is linear (`hidden=(m,)` gives the number of basis functions):

- `chebyshev`, `legendre`: polynomials of degree 0 to m - 1.
- `fourier`: 1, cos(pi s), sin(pi s), cos(2 pi s), ...: functions that are periodic on
  the interval.
- `random_features`: sin(w_k s + b_k) with w_k ~ N(0, sigma^2), b_k uniform, drawn once.

A fifth, `spectral`, is what solves in fixed bases return where axes differ: per axis
Fourier functions, or Chebyshev polynomials in the coordinate of `stretched`.

`s` is the coordinate mapped to [-1, 1] when `normalize` is on (the default for all
but the two `mlp`s, which see raw coordinates, as in the papers they come from).

Every kind ends in a linear layer: `features` are its inputs, `output` its matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pinns.derivatives import SERIES, jet, network_series
from pinns.domain import positive_integer


BASES = ("chebyshev", "legendre", "fourier", "random_features")
# Networks that have no trained numbers but the coefficients of their last layer.
FIXED = (*BASES, "spectral")
NETWORKS = ("mlp", "modified_mlp", "siren", "fourier_features", "rbf", *FIXED)
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "sin": jnp.sin,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
}
INITIALIZERS = {
    "glorot_normal": jax.nn.initializers.glorot_normal,
    "glorot_uniform": jax.nn.initializers.glorot_uniform,
    "lecun_normal": jax.nn.initializers.lecun_normal,
    "he_normal": jax.nn.initializers.he_normal,
}
_NORMALIZED = ("siren", "fourier_features", "rbf", *FIXED)
_SCALED = {"fourier_features": 1.0, "random_features": 10.0}

Params = dict[str, Any]


@dataclass(frozen=True)
class FactorNetwork:
    """Description of a one-dimensional network; see the module docstring for kinds.

    Args:
        kind: one of `NETWORKS`.
        hidden: widths of the hidden layers.
        activation: one of `ACTIVATIONS`; a `siren` has its sine and takes none.
        initializer: one of `INITIALIZERS` for the Dense kernels; biases start at
            zero. A `siren` has its own and takes none.
        normalize: map the coordinate to [-1, 1] first.
        omega: frequency scale of a `siren` (default 30).
        sigma: standard deviation of the frequencies of `fourier_features` (default
            1, per period) and `random_features` (default 10, radians).
    """

    kind: str = "mlp"
    hidden: tuple[int, ...] = (32, 32, 32)
    activation: str = "tanh"
    initializer: str = "glorot_normal"
    normalize: bool = False
    omega: float = 30.0
    sigma: float = 1.0

    def init(
        self, key: Array, width: int, interval: Float[Array, " 2"], dtype
    ) -> Params:
        """Returns fresh parameters for `width` output features."""
        return _INIT[self.kind](self, key, width, interval, jnp.dtype(dtype))

    def apply(
        self, params: Params, x: Float[Array, " n"], interval: Float[Array, " 2"]
    ) -> Float[Array, "n w"]:
        """Returns the features of the coordinates `x` on the given interval."""
        return self.features(params, x, interval) @ self.output(params)

    def features(
        self, params: Params, x: Float[Array, " n"], interval: Float[Array, " 2"]
    ) -> Float[Array, "n h"]:
        """Returns what the last, linear layer sees; a column of ones for its bias."""
        if self.normalize:
            x = (2.0 * x - (interval[0] + interval[1])) / (interval[1] - interval[0])
        return _FEATURES[self.kind](self, params, x[:, None])

    def jets(
        self,
        params: Params,
        x: Float[Array, " n"],
        interval: Float[Array, " 2"],
        order: int,
        *,
        features: bool = False,
    ) -> tuple[Float[Array, "n w"], ...]:
        """Returns outputs, or `features`, and derivatives up to `order`, (n, w) each.

        Plain networks and sirens of sines or tanh hand on Taylor coefficients, other
        kinds are differentiated.
        """
        activation = "sin" if self.kind == "siren" else self.activation
        if self.kind not in ("mlp", "siren") or activation not in SERIES or not order:
            function = self.features if features else self.apply
            return jet(lambda s: function(params, s, interval), x, order)
        slope = jnp.ones((), x.dtype)
        if self.normalize:
            slope = 2.0 / (interval[1] - interval[0])
            x = (2.0 * x - (interval[0] + interval[1])) / (interval[1] - interval[0])
        *hidden, last = params["layers"]
        omega = self.omega if self.kind == "siren" else 1.0
        series = network_series(hidden, x, slope, order, activation, omega)
        if features:
            found = [_with_ones(series[0])]
            found += [jnp.pad(part, ((0, 0), (0, 1))) for part in series[1:]]
        else:
            # Product by product: orders that nobody asks for are left out.
            found = [part @ last["kernel"] for part in series]
            found[0] = found[0] + last["bias"][None, :]
        return tuple(math.factorial(k) * f if k > 1 else f for k, f in enumerate(found))

    def output(self, params: Params) -> Float[Array, "h w"]:
        """Returns the matrix of the last layer, its bias as the last row."""
        if self.kind in FIXED:
            return params["kernel"]
        last = params["layers"][-1]
        return jnp.concatenate([last["kernel"], last["bias"][None, :]])

    def with_output(self, params: Params, output: Float[Array, "h w"]) -> Params:
        """Returns parameters with another matrix in the last layer."""
        if self.kind in FIXED:
            return {**params, "kernel": output}
        last = {"kernel": output[:-1], "bias": output[-1]}
        return {**params, "layers": [*params["layers"][:-1], last]}

    @property
    def num_features(self) -> int:
        """Number of columns of `features`."""
        return self.hidden[-1] + (self.kind not in FIXED)

    def _dense(self, key: Array, shape: tuple[int, int], dtype) -> Params:
        kernel = INITIALIZERS[self.initializer]()(key, shape, dtype)
        return {"kernel": kernel, "bias": jnp.zeros(shape[1], dtype)}

    def stack(self, key: Array, sizes: tuple[int, ...], dtype) -> list[Params]:
        """Returns Dense layers of the given sizes, input first."""
        keys = jax.random.split(key, len(sizes) - 1)
        return [
            self._dense(k, shape, dtype)
            for k, shape in zip(keys, pairwise(sizes), strict=True)
        ]

    def forward(self, layers: list[Params], h: Float[Array, "n c"]) -> Array:
        """Returns Dense + activation for all layers but the last, and ones."""
        activation = ACTIVATIONS[self.activation]
        for layer in layers[:-1]:
            h = activation(_affine(layer, h))
        return _with_ones(h)


def network(
    owner: str,
    kind: str,
    *,
    hidden: tuple[int, ...],
    activation: str | None,
    initializer: str | None,
    default_initializer: str,
    normalize: bool | None,
    omega: float | None,
    sigma: float | None,
) -> FactorNetwork:
    """Returns the checked `FactorNetwork`; `None` stands for the default of the kind.

    Raises:
        ValueError: an unknown name, a bad width, or an option of another kind.
    """
    _choice(owner, "network", kind, NETWORKS)
    if kind == "siren":
        for name, value in (("activation", activation), ("initializer", initializer)):
            if value is not None:
                raise ValueError(
                    f"{owner}: a siren has its own {name}; `{name}` must be None "
                    f"with network='siren', got {value!r}"
                )
    activation_given, initializer_given = (
        activation is not None,
        initializer is not None,
    )
    activation = "tanh" if activation is None else activation
    initializer = default_initializer if initializer is None else initializer
    _choice(owner, "activation", activation, tuple(ACTIVATIONS))
    _choice(owner, "initializer", initializer, tuple(INITIALIZERS))
    if not isinstance(hidden, (tuple, list)) or not hidden:
        raise ValueError(
            f"{owner}: `hidden` must be a non-empty tuple of widths, got {hidden!r}"
        )
    for width in hidden:
        positive_integer(width, owner, "hidden")
    if kind == "fourier_features" and hidden[0] % 2:
        raise ValueError(
            f"{owner}: fourier_features come in cosine-sine pairs; the first `hidden` "
            f"width must be even, got {hidden[0]}"
        )
    if kind == "modified_mlp" and len(set(hidden)) > 1:
        raise ValueError(
            f"{owner}: the gates of a modified_mlp need equal `hidden` widths, "
            f"got {hidden!r}"
        )
    if kind in FIXED:
        if activation_given or initializer_given:
            raise ValueError(
                f"{owner}: a fixed basis has no `activation` and no `initializer`; "
                f"both must be None with network={kind!r}"
            )
        if len(hidden) != 1:
            raise ValueError(
                f"{owner}: network={kind!r} takes one `hidden` width, the number of "
                f"basis functions, got {hidden!r}"
            )
    for name, scale, owning in (
        ("omega", omega, ("siren",)),
        ("sigma", sigma, tuple(_SCALED)),
    ):
        if scale is not None and kind not in owning:
            raise ValueError(
                f"{owner}: `{name}` belongs to network="
                f"{' or '.join(map(repr, owning))}, "
                f"got {name}={scale!r} with network={kind!r}"
            )
        if scale is not None and not scale > 0:
            raise ValueError(f"{owner}: `{name}` must be positive, got {scale!r}")
    return FactorNetwork(
        kind=kind,
        hidden=tuple(int(width) for width in hidden),
        activation=activation,
        initializer=initializer,
        normalize=kind in _NORMALIZED if normalize is None else bool(normalize),
        omega=30.0 if omega is None else float(omega),
        sigma=_SCALED.get(kind, 1.0) if sigma is None else float(sigma),
    )


def envelope(
    x: Float[Array, " n"], interval: Float[Array, " 2"], flags: Float[Array, " 3"]
) -> Float[Array, "n 1"]:
    """Returns phi_i(x); exactly zero at the ends that `flags` name."""
    s = (x - interval[0]) / (interval[1] - interval[0])
    lower = (1.0 + flags[0] * (s - 1.0)) * (1.0 + flags[1] * (s - 1.0))
    upper = 1.0 - flags[2] * s
    scale = 1.0 + 3.0 * flags[0] * flags[2]
    return (scale * lower * upper)[:, None]


def _choice(owner: str, name: str, value, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(
            f"{owner}: `{name}` must be one of {', '.join(allowed)}, got {value!r}"
        )


def _affine(layer: Params, h: Array) -> Array:
    return h @ layer["kernel"] + layer["bias"][None, :]


def _mlp_init(net, key, width, interval, dtype):
    return {"layers": net.stack(key, (1, *net.hidden, width), dtype)}


def _with_ones(h: Array) -> Array:
    return jnp.concatenate([h, jnp.ones((h.shape[0], 1), h.dtype)], axis=1)


def _mlp_features(net, params, h):
    return net.forward(params["layers"], h)


def _modified_init(net, key, width, interval, dtype):
    # Gates U, V and the first hidden layer read the coordinate; every hidden width
    # adds one gated layer. All hidden widths are equal, as the gates require.
    u, v, first, rest = jax.random.split(key, 4)
    widths = (net.hidden[0], *net.hidden, width)
    return {
        "gate_u": net._dense(u, (1, widths[0]), dtype),
        "gate_v": net._dense(v, (1, widths[0]), dtype),
        "first": net._dense(first, (1, widths[0]), dtype),
        "layers": net.stack(rest, widths, dtype),
    }


def _modified_features(net, params, x):
    activation = ACTIVATIONS[net.activation]
    u = activation(_affine(params["gate_u"], x))
    v = activation(_affine(params["gate_v"], x))
    h = activation(_affine(params["first"], x))
    for layer in params["layers"][:-1]:
        z = activation(_affine(layer, h))
        h = (1.0 - z) * u + z * v
    return _with_ones(h)


def _siren_init(net, key, width, interval, dtype):
    sizes = (1, *net.hidden, width)
    layers = []
    for i, k in enumerate(jax.random.split(key, len(sizes) - 1)):
        k_kernel, k_bias = jax.random.split(k)
        shape = (sizes[i], sizes[i + 1])
        bound = 1.0 / shape[0] if i == 0 else (6.0 / shape[0]) ** 0.5 / net.omega
        kernel = jax.random.uniform(k_kernel, shape, dtype, -bound, bound)
        bias = jax.random.uniform(k_bias, shape[1:], dtype, -bound, bound)
        layers.append({"kernel": kernel, "bias": bias})
    return {"layers": layers}


def _siren_features(net, params, h):
    for layer in params["layers"][:-1]:
        h = jnp.sin(net.omega * _affine(layer, h))
    return _with_ones(h)


def _fourier_init(net, key, width, interval, dtype):
    k_frequencies, k_layers = jax.random.split(key)
    pairs = net.hidden[0] // 2
    frequencies = net.sigma * jax.random.normal(k_frequencies, (pairs,), dtype)
    layers = net.stack(k_layers, (*net.hidden, width), dtype)
    return {"frequencies": frequencies, "layers": layers}


def _fourier_features(net, params, x):
    phase = 2.0 * jnp.pi * x * params["frequencies"][None, :]
    features = jnp.concatenate([jnp.cos(phase), jnp.sin(phase)], axis=-1)
    return _mlp_features(net, params, features)


def _rbf_init(net, key, width, interval, dtype):
    count = net.hidden[0]
    low, high = (-1.0, 1.0) if net.normalize else (interval[0], interval[1])
    # Centers a little beyond both ends, so that the edges are covered like the rest.
    spread = jnp.linspace(-0.05, 1.05, count, dtype=dtype)
    spacing = 1.1 * (high - low) / max(count - 1, 1)
    return {
        "centers": low + (high - low) * spread,
        "log_widths": jnp.full(count, 1.0, dtype)
        * jnp.log(2.0 * spacing).astype(dtype),
        "layers": net.stack(key, (*net.hidden, width), dtype),
    }


def _rbf_features(net, params, x):
    scaled = (x - params["centers"][None, :]) * jnp.exp(-params["log_widths"])[None, :]
    return _mlp_features(net, params, jnp.exp(-(scaled**2)))


def _coefficients(net, key, width, dtype):
    # Smooth functions to start from: coefficients fall with the degree.
    decay = 1.0 / (1.0 + jnp.arange(net.hidden[0], dtype=dtype))
    return decay[:, None] * jax.random.normal(key, (net.hidden[0], width), dtype)


def _basis_init(net, key, width, interval, dtype):
    return {"kernel": _coefficients(net, key, width, dtype)}


def _recurrence(net, x, next_of):
    """Stacks p_0 = 1, p_1 = s, p_{k+1} = next_of(k, s, p_k, p_{k-1})."""

    def body(carry, k):
        last, before = carry
        return (next_of(k, x, last, before), last), before

    degrees = jnp.arange(1, net.hidden[0] + 1, dtype=x.dtype)
    # A step emits the polynomial two behind the newest.
    columns = jax.lax.scan(body, (x, jnp.ones_like(x)), degrees)[1]
    return columns[:, :, 0].T


def _chebyshev_features(net, params, x):
    return _recurrence(net, x, lambda k, s, last, before: 2.0 * s * last - before)


def _legendre_features(net, params, x):
    return _recurrence(
        net,
        x,
        lambda k, s, last, before: (
            ((2.0 * k + 1.0) * s * last - k * before) / (k + 1.0)
        ),
    )


def _fourier_basis_features(net, params, x):
    count = net.hidden[0]
    waves = jnp.pi * jnp.arange(1, count // 2 + 1, dtype=x.dtype)
    phase = x * waves[None, :]
    pairs = jnp.stack([jnp.cos(phase), jnp.sin(phase)], axis=-1)
    flat = pairs.reshape(x.shape[0], -1)
    return jnp.concatenate([jnp.ones_like(x), flat], axis=1)[:, :count]


def _random_init(net, key, width, interval, dtype):
    k_frequency, k_phase, k_kernel = jax.random.split(key, 3)
    count = net.hidden[0]
    frequencies = net.sigma * jax.random.normal(k_frequency, (count,), dtype)
    phases = jax.random.uniform(k_phase, (count,), dtype, 0.0, 2.0 * jnp.pi)
    return {
        "frequencies": frequencies,
        "phases": phases,
        "kernel": _coefficients(net, k_kernel, width, dtype),
    }


def _random_features(net, params, x):
    frequencies, phases = jax.lax.stop_gradient(
        (params["frequencies"], params["phases"])
    )
    return jnp.sin(x * frequencies[None, :] + phases[None, :])


def stretched(s: Array, center: Array, sharpness: Array) -> Array:
    """Returns a coordinate of [-1, 1] in which a layer is wide.

    `2 (asinh(q (s - c)) - a) / (b - a) - 1` with the center c and the sharpness q of
    the layer, the inverse of its width, and a, b such that ends stay ends. Around c
    the new coordinate is steeper by up to about q / log(q). `q = 0` changes nothing.

    Source: Tee & Trefethen, A rational spectral collocation method with adaptively
    transformed Chebyshev grid points, SIAM J. Sci. Comput. 28 (2006), section 4.
    """
    q = jnp.where(sharpness > 0.0, sharpness, 1.0)
    low, high = jnp.arcsinh(q * (-1.0 - center)), jnp.arcsinh(q * (1.0 - center))
    found = 2.0 * (jnp.arcsinh(q * (s - center)) - low) / (high - low) - 1.0
    return jnp.where(sharpness > 0.0, found, s)


def _spectral_init(net, key, width, interval, dtype):
    kernel = _coefficients(net, key, width, dtype)
    flat = {name: jnp.zeros((), dtype) for name in ("periodic", "center", "sharpness")}
    return {"kernel": kernel, **flat}


def _spectral_features(net, params, x):
    names = ("periodic", "center", "sharpness")
    periodic, center, sharpness = jax.lax.stop_gradient([params[n] for n in names])
    polynomials = _chebyshev_features(net, params, stretched(x, center, sharpness))
    waves = _fourier_basis_features(net, params, x)
    return jnp.where(periodic > 0.0, waves, polynomials)


_INIT = {
    "chebyshev": _basis_init,
    "legendre": _basis_init,
    "fourier": _basis_init,
    "random_features": _random_init,
    "spectral": _spectral_init,
    "mlp": _mlp_init,
    "modified_mlp": _modified_init,
    "siren": _siren_init,
    "fourier_features": _fourier_init,
    "rbf": _rbf_init,
}
_FEATURES = {
    "chebyshev": _chebyshev_features,
    "legendre": _legendre_features,
    "fourier": _fourier_basis_features,
    "random_features": _random_features,
    "spectral": _spectral_features,
    "mlp": _mlp_features,
    "modified_mlp": _modified_features,
    "siren": _siren_features,
    "fourier_features": _fourier_features,
    "rbf": _rbf_features,
}
