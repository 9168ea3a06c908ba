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

`s` is the coordinate mapped to [-1, 1] when `normalize` is on (the default for
`siren`, `fourier_features` and `rbf`; the `mlp`s see raw coordinates, as in the
papers they come from).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pinns.domain import positive_integer


NETWORKS = ("mlp", "modified_mlp", "siren", "fourier_features", "rbf")
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
_NORMALIZED = ("siren", "fourier_features", "rbf")

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
        sigma: standard deviation of the `fourier_features` frequencies (default 1).
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
        if self.normalize:
            x = (2.0 * x - (interval[0] + interval[1])) / (interval[1] - interval[0])
        return _APPLY[self.kind](self, params, x[:, None])

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
        """Returns Dense + activation for all layers but the last, which is linear."""
        activation = ACTIVATIONS[self.activation]
        for layer in layers[:-1]:
            h = activation(_affine(layer, h))
        return _affine(layers[-1], h)


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
    for name, scale, owning in (
        ("omega", omega, "siren"),
        ("sigma", sigma, "fourier_features"),
    ):
        if scale is not None and kind != owning:
            raise ValueError(
                f"{owner}: `{name}` belongs to network={owning!r}, "
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
        sigma=1.0 if sigma is None else float(sigma),
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


def _mlp_apply(net, params, h):
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


def _modified_apply(net, params, x):
    activation = ACTIVATIONS[net.activation]
    u = activation(_affine(params["gate_u"], x))
    v = activation(_affine(params["gate_v"], x))
    h = activation(_affine(params["first"], x))
    for layer in params["layers"][:-1]:
        z = activation(_affine(layer, h))
        h = (1.0 - z) * u + z * v
    return _affine(params["layers"][-1], h)


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


def _siren_apply(net, params, h):
    for layer in params["layers"][:-1]:
        h = jnp.sin(net.omega * _affine(layer, h))
    return _affine(params["layers"][-1], h)


def _fourier_init(net, key, width, interval, dtype):
    k_frequencies, k_layers = jax.random.split(key)
    pairs = net.hidden[0] // 2
    frequencies = net.sigma * jax.random.normal(k_frequencies, (pairs,), dtype)
    layers = net.stack(k_layers, (*net.hidden, width), dtype)
    return {"frequencies": frequencies, "layers": layers}


def _fourier_apply(net, params, x):
    phase = 2.0 * jnp.pi * x * params["frequencies"][None, :]
    features = jnp.concatenate([jnp.cos(phase), jnp.sin(phase)], axis=-1)
    return _mlp_apply(net, params, features)


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


def _rbf_apply(net, params, x):
    scaled = (x - params["centers"][None, :]) * jnp.exp(-params["log_widths"])[None, :]
    return _mlp_apply(net, params, jnp.exp(-(scaled**2)))


_INIT = {
    "mlp": _mlp_init,
    "modified_mlp": _modified_init,
    "siren": _siren_init,
    "fourier_features": _fourier_init,
    "rbf": _rbf_init,
}
_APPLY = {
    "mlp": _mlp_apply,
    "modified_mlp": _modified_apply,
    "siren": _siren_apply,
    "fourier_features": _fourier_apply,
    "rbf": _rbf_apply,
}
