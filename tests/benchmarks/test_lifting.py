"""The wavelet benchmark at tiny size."""

import numpy as np
import pytest

from benchmarks import lifting
from jaxcore import transforms


@pytest.mark.filterwarnings("ignore:Level value of 2 is too high")
@pytest.mark.parametrize("wavelet", ["haar", "9/7"])
def test_rows_of_wavelets(wavelet):
    rows = [
        *lifting.measure_images((2, 16, 16), wavelet, 1),
        *lifting.measure_signals((2, 64), wavelet, 1),
    ]
    for kind in ("image", "signal"):
        found = {(r["method"], r["part"]) for r in rows if r["kind"] == kind}
        assert {("ours", "inverse"), ("PyWavelets", "inverse")} <= found
        for method in ("ours", "ours lifting", "convolution"):
            assert {(method, "forward"), (method, "gradient")} <= found
    assert all(wavelet in lifting.show(row) for row in rows)


def test_rows_of_hadamard():
    rows = list(lifting.measure_hadamard((2, 16), 1))
    assert len(rows) == 6
    assert all(row["seconds"]["n"] == 1 for row in rows)


def test_wrong_results_are_not_timed(monkeypatch):
    def wrong(x, wavelet, axis):
        low, high = transforms.dwt(x, wavelet, axis=axis)
        return low, 2 * high

    monkeypatch.setattr(lifting, "conv_dwt", wrong)
    with pytest.raises(RuntimeError, match=r"lifting: .* forward differs by"):
        list(lifting.measure_signals((2, 64), "5/3", 1))


@pytest.mark.parametrize("axis", [1, 2])
def test_peer_by_convolution_is_the_same_transform(axis, rng):
    x = rng.standard_normal((2, 12, 20)).astype(np.float32)
    for wavelet in lifting.PEERS:
        pairs = zip(
            lifting.conv_dwt(x, wavelet, axis),
            transforms.dwt(x, wavelet, axis=axis),
            strict=True,
        )
        for theirs, ours in pairs:
            np.testing.assert_allclose(theirs, ours, atol=1e-5)
