"""Metrics against numbers that torchmetrics 1.9.0 gives for the same arrays."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import metrics


# structural_similarity_index_measure (mean of its full image where the window fits),
# peak_signal_noise_ratio; data_range=1, float64.
SSIM = (0.9223917544885281, 0.9297828363973932)
PSNR = (19.101405641477132, 19.30024229935099)
# image.kid.poly_mmd(degree=3, coef=1) and image.fid._compute_fid of float64 moments.
KERNEL, FRECHET = 2.5198443898400633, 3.070700328527849
# functional.classification, four classes, each by itself; float32.
OF_CLASSES = {
    "dice": (0.800000011920929, 0.6666666865348816, 0.774193525314331, 0.76923078),
    "iou": (0.6666666865348816, 0.5, 0.6315789222717285, 0.625),
    "precision": (0.7692307829856873, 1.0, 0.75, 0.6666666865348816),
    "recall": (0.8333333134651184, 0.5, 0.800000011920929, 0.9090909361839294),
}
KAPPA = 0.6786288022994995


def test_values(x64):
    rng = np.random.default_rng(7)
    x = rng.uniform(size=(2, 16, 18, 3))
    y = np.clip(x + rng.uniform(-0.2, 0.2, size=x.shape), 0, 1)
    np.testing.assert_allclose(metrics.ssim(x, y), SSIM, rtol=1e-6)
    np.testing.assert_allclose(metrics.psnr(x, y), PSNR, rtol=1e-7)
    a = rng.normal(size=(40, 5))
    b = 0.5 + 1.3 * rng.normal(size=(40, 5))
    assert float(metrics.kernel_distance(a, b)) == pytest.approx(KERNEL, rel=1e-10)
    assert float(metrics.frechet_distance(a, b)) == pytest.approx(FRECHET, rel=1e-8)
    true = rng.integers(0, 4, 50)
    found = np.where(rng.uniform(size=50) < 0.6, true, rng.integers(0, 4, 50))
    matrix = metrics.confusion_matrix(jnp.asarray(found), jnp.asarray(true), 4)
    for name, expected in OF_CLASSES.items():
        values = getattr(metrics, name)(matrix)
        np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert float(metrics.cohen_kappa(matrix)) == pytest.approx(KAPPA, rel=1e-6)
