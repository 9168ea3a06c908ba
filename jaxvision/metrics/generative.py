"""How far generated images are from real ones, in the features of any network.

Features are (n, d), one row per image. What is called FID and KID are
`frechet_distance` and `kernel_distance` in the features of InceptionV3 with its
published weights (`frechet_inception_distance`, `kernel_inception_distance`); with
other features the figures are not comparable with those, nor called so.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxvision import _checks
from jaxvision._checks import Values


def frechet_distance(
    x: Float[Values, "n d"], y: Float[Values, "m d"]
) -> Float[Array, ""]:
    """Returns the Frechet distance of the Gaussians with the moments of two sets.

    `|mx - my|^2 + tr(Sx + Sy - 2 (Sx Sy)^(1/2))` with unbiased covariances. The trace
    of the root is found as a sum of singular values, of `Rx Ry^T` with `S = R^T R`, so
    that singular covariances (fewer rows than features) are as good as others.

    Args:
        x, y: features, at least 2 rows each.

    Returns:
        At least 0 but for rounding; the square of a metric.

    Raises:
        TypeError: features are not floating point.
        ValueError: shapes do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[0.0], [2.0]])
        >>> float(frechet_distance(x, 3 * x).round(4))  # (1 - 3)^2 + 2 (1 - 3)^2
        12.0

    Source: Heusel et al., NeurIPS 2017, equation 6.
    """
    where = "jaxvision.metrics.frechet_distance"
    x, y = _features(where, x, y)
    moments = []
    for rows in (x, y):
        mean = jnp.mean(rows, axis=0)
        centered = (rows - mean[None]) / jnp.sqrt(len(rows) - 1)
        moments.append((mean, jnp.linalg.qr(centered, mode="r")))
    (mx, rx), (my, ry) = moments
    return _frechet(mx, rx, my, ry)


def frechet_distance_of_moments(
    mean_x: Float[Values, " d"],
    covariance_x: Float[Values, "d d"],
    mean_y: Float[Values, " d"],
    covariance_y: Float[Values, "d d"],
) -> Float[Array, ""]:
    """Returns the Frechet distance of two Gaussians, see `frechet_distance`.

    Args:
        mean_x, mean_y: (d,). covariance_x, covariance_y: (d, d), symmetric and positive
            semidefinite; eigenvalues below 0 count as 0.

    Raises:
        TypeError: an array is not floating point.
        ValueError: shapes do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> mean, one = jnp.zeros(2), jnp.eye(2)
        >>> float(frechet_distance_of_moments(mean, one, mean + 1, 4 * one).round(4))
        4.0
    """
    where = "jaxvision.metrics.frechet_distance_of_moments"
    moments = []
    for name, mean, covariance in (
        ("x", mean_x, covariance_x),
        ("y", mean_y, covariance_y),
    ):
        mean = _checks.floating(where, f"mean_{name}", mean)
        covariance = _checks.floating(where, f"covariance_{name}", covariance)
        if mean.ndim != 1 or covariance.shape != 2 * mean.shape:
            raise ValueError(
                f"{where}: `mean_{name}` and `covariance_{name}` must be (d,) and "
                f"(d, d), got {mean.shape} and {covariance.shape}"
            )
        values, vectors = jnp.linalg.eigh(covariance)
        root = jnp.sqrt(jnp.maximum(values, 0))[:, None] * vectors.T
        moments.append((mean, root))
    (mx, rx), (my, ry) = moments
    _checks.same_shape(where, mean_x=mx, mean_y=my)
    return _frechet(mx, rx, my, ry)


def _frechet(mx: Array, rx: Array, my: Array, ry: Array) -> Array:
    """Returns the distance for covariances `R^T R`."""
    root = jnp.sum(jnp.linalg.svd(_products(rx, ry), compute_uv=False))
    return jnp.sum((mx - my) ** 2) + jnp.sum(rx**2) + jnp.sum(ry**2) - 2 * root


def _products(a: Array, b: Array) -> Array:
    """Returns inner products of rows, on accelerators too with all digits."""
    return jnp.matmul(a, b.T, precision="highest")


def kernel_distance(
    x: Float[Values, "n d"], y: Float[Values, "m d"], *, degree: int = 3
) -> Float[Array, ""]:
    """Returns the unbiased squared maximum mean discrepancy with a polynomial kernel.

    `mean k(x, x') + mean k(y, y') - 2 mean k(x, y)`, the first two over pairs of
    different rows, with `k(a, b) = (a . b / d + 1)^degree`. Its mean over draws is 0
    where both sets come from one distribution: it can be negative.

    Args:
        x, y: features, at least 2 rows each.
        degree: of the kernel.

    Raises:
        TypeError: features are not floating point.
        ValueError: shapes do not fit, or `degree` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[0.0], [1.0]])
        >>> float(
        ...     kernel_distance(x, x + 1, degree=1)
        ... )  # 1 + 3 - 2 * (1 + 1 + 2 + 3) / 4
        0.5

    Source: Binkowski et al., Demystifying MMD GANs, ICLR 2018, section 4.
    """
    where = "jaxvision.metrics.kernel_distance"
    x, y = _features(where, x, y)
    _checks.positive(where, "degree", degree)

    def kernel(a: Array, b: Array) -> Array:
        return (_products(a, b) / a.shape[1] + 1) ** degree

    def within(a: Array) -> Array:
        n, values = len(a), kernel(a, a)
        return (jnp.sum(values) - jnp.trace(values)) / (n * (n - 1))

    return within(x) + within(y) - 2 * jnp.mean(kernel(x, y))


def kernel_distance_over_subsets(
    key: Array,
    x: Float[Values, "n d"],
    y: Float[Values, "m d"],
    *,
    subsets: int = 100,
    size: int = 1000,
    degree: int = 3,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Returns mean and standard deviation of `kernel_distance` over random subsets.

    Args:
        key: of the draws.
        x, y: features.
        subsets: how many. size: rows of each, drawn without replacement.
        degree: of the kernel.

    Raises:
        TypeError: features are not floating point.
        ValueError: shapes do not fit, or there are fewer rows than `size`.

    Example:
        >>> import jax
        >>> x = jax.random.normal(jax.random.key(0), (20, 3))
        >>> mean, spread = kernel_distance_over_subsets(
        ...     jax.random.key(1), x, x, subsets=3, size=10
        ... )
        >>> bool(spread > 0)
        True

    Source: Binkowski et al., Demystifying MMD GANs, ICLR 2018: KID is reported so, for
    features of InceptionV3. 100 subsets of 1000 rows are those that HingeRLC-GAN
    reports.
    """
    where = "jaxvision.metrics.kernel_distance_over_subsets"
    x, y = _features(where, x, y)
    if not 2 <= size <= min(len(x), len(y)):
        raise ValueError(
            f"{where}: `size` must be from 2 to the number of rows, "
            f"{min(len(x), len(y))}, got {size}"
        )
    _checks.positive(where, "subsets", subsets)

    def one(key: Array) -> Array:
        first, second = jax.random.split(key)
        chosen = (
            rows[jax.random.permutation(k, len(rows))[:size]]
            for k, rows in ((first, x), (second, y))
        )
        return kernel_distance(*chosen, degree=degree)

    found = lax.map(one, jax.random.split(key, subsets))
    return jnp.mean(found), jnp.std(found)


class ModeCoverage(NamedTuple):
    """Coverage of known modes: how many, how well, and by how many samples each."""

    covered: Int[Array, ""]
    share: Float[Array, ""]
    counts: Int[Array, " k"]


def mode_coverage(
    x: Float[Values, "n d"],
    centers: Float[Values, "k d"],
    *,
    radius: float,
    least: int = 20,
) -> ModeCoverage:
    """Returns how many modes samples cover, and the share of samples on any mode.

    A sample is on its nearest mode if that is at most `radius` away; a mode is covered
    by at least `least` samples. Coverage can be bought with precision and the other way
    round: report both.

    Args:
        x: samples (n, d).
        centers: of the modes (k, d).
        radius: for a Gaussian of deviation s, `3 * s`.
        least: samples.

    Raises:
        TypeError: arrays are not floating point.
        ValueError: shapes do not fit, or an option is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[0.0], [0.1], [5.0]])
        >>> found = mode_coverage(x, jnp.array([[0.0], [1.0]]), radius=0.2, least=2)
        >>> int(found.covered), found.counts.tolist()
        (1, [2, 0])

    Source: Srivastava et al., VEEGAN, NeurIPS 2017, where a sample within
    three deviations of a mode counts. `least` is ours: there one sample covers a mode.
    """
    where = "jaxvision.metrics.mode_coverage"
    x, centers = _features(where, x, centers, names=("x", "centers"), least=1)
    _checks.positive(where, "radius", radius)
    _checks.positive(where, "least", least)
    squares = jnp.sum((x[:, None] - centers[None]) ** 2, axis=-1)
    nearest = jnp.argmin(squares, axis=1)
    on = jnp.min(squares, axis=1) <= radius**2
    counts = jnp.zeros(len(centers), jnp.int32).at[nearest].add(on.astype(jnp.int32))
    covered = jnp.sum(counts >= least, dtype=jnp.int32)
    return ModeCoverage(covered, jnp.mean(on, dtype=x.dtype), counts)


def kl_to_uniform(counts: Int[Values, " k"]) -> Float[Array, ""]:
    """Returns the KL divergence of a histogram from the uniform one, in nats.

    `sum_k p_k log(K p_k)` with `p = counts / sum(counts)`: 0 if all K classes came out
    alike, `log K` if only one did. NaN without counts.

    Args:
        counts: (K,), not negative.

    Raises:
        ValueError: not (K,).

    Example:
        >>> import jax.numpy as jnp
        >>> kl_to_uniform(jnp.array([4, 0])).round(4).tolist()
        0.6931

    Source: Metz et al., Unrolled Generative Adversarial Networks, ICLR 2017, compare
    classes of generated images with those of the data so; here the data are uniform.
    """
    values = jnp.asarray(counts)
    if values.ndim != 1 or not values.size:
        raise ValueError(
            "jaxvision.metrics.kl_to_uniform: `counts` must be (K,), one per class, "
            f"got shape {values.shape}"
        )
    values = _checks.wide(values)
    shares = values / jnp.sum(values)
    return jnp.sum(jax.scipy.special.xlogy(shares, shares * len(values)))


def distance_within_classes(
    x: Float[Values, "n d"], labels: Int[Values, " n"], num_classes: int
) -> Float[Array, " k"]:
    """Returns the mean distance between two rows of each class.

    Over pairs of different rows; small where a class has collapsed to one image. NaN
    for classes with fewer than two rows.

    Args:
        x: features (n, d).
        labels: (n,), integers from 0 to K - 1. Inside `jax.jit` a row with a label out
            of range is left out.
        num_classes: K.

    Returns:
        (K,).

    Raises:
        TypeError: features are not floating point, or labels no integers.
        ValueError: shapes do not fit, or a label is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> x, labels = jnp.array([[0.0], [2.0], [5.0]]), jnp.array([0, 0, 1])
        >>> distance_within_classes(x, labels, 2).tolist()
        [2.0, nan]

    Source: ours, for what the paper of HingeRLC-GAN shows by pictures of samples alone.
    """
    where = "jaxvision.metrics.distance_within_classes"
    x, _ = _features(where, x, x)
    labels = _checks.integers(where, "labels", labels)
    if labels.shape != x.shape[:1]:
        raise ValueError(
            f"{where}: `labels` must have shape {x.shape[:1]}, one per row, got "
            f"{labels.shape}"
        )
    _checks.labels_below(where, "labels", labels, num_classes)

    def from_one(row: Array) -> Array:
        return jnp.sqrt(jnp.sum((x - row[None]) ** 2, axis=1))

    own = jax.nn.one_hot(labels, num_classes, dtype=x.dtype)
    sums = lax.map(lambda row: from_one(row) @ own, x)  # to all rows of each class
    count = jnp.sum(own, axis=0)
    pairs = count * (count - 1)
    total = jnp.sum(own * sums, axis=0)
    return jnp.where(pairs > 0, total / jnp.where(pairs > 0, pairs, 1), jnp.nan)


def _features(
    where: str,
    x: Values,
    y: Values,
    *,
    names: tuple[str, str] = ("x", "y"),
    least: int = 2,
) -> tuple[Array, Array]:
    """Returns two sets of rows of one width, in float32 at least."""
    found = [
        _checks.floating(where, name, value)
        for name, value in zip(names, (x, y), strict=True)
    ]
    for name, array in zip(names, found, strict=True):
        if array.ndim != 2 or array.shape[0] < least or array.shape[1] < 1:
            raise ValueError(
                f"{where}: `{name}` must be (rows, numbers), at least {least} rows, "
                f"got shape {array.shape}"
            )
    if found[0].shape[1] != found[1].shape[1]:
        raise ValueError(
            f"{where}: `{names[1]}` must be as wide as `{names[0]}`, "
            f"{found[0].shape[1]}, got {found[1].shape[1]}"
        )
    wide = jnp.promote_types(jnp.result_type(*found), jnp.float32)
    return found[0].astype(wide), found[1].astype(wide)
