"""The benchmark at tiny size, and `method="auto"` against what was measured."""

import json

import numpy as np
import pytest

from benchmarks import _results, fft_convolution
from jaxcore.transforms import _choice


RESULT = json.loads((_results.RESULTS / "fft_convolution.json").read_text("utf-8"))
# Programs that are equal up to their names scatter by this much.
SLACK = 1.5


@pytest.mark.parametrize("case", fft_convolution.QUICK, ids=lambda case: case.kind)
def test_rows(case):
    rows = list(fft_convolution.measure(case, repeats=1))
    assert {row["part"] for row in rows} == {"forward", "gradient"}
    ours = [row for row in rows if row["method"].startswith("ours")]
    assert all(row["compile_seconds"] > 0 for row in ours)
    assert all(row["seconds"]["median"] > 0 for row in rows)
    (auto,) = {row["chosen"] for row in rows if row["method"] == "ours auto"}
    assert f"ours {auto}" in {row["method"] for row in rows}
    assert all(str(case.shape[-1]) in fft_convolution.show(row) for row in rows)


def test_wrong_results_are_not_timed(monkeypatch):
    monkeypatch.setattr(fft_convolution, "padded", lambda x, kernel: 0 * x)
    with pytest.raises(RuntimeError, match=r"padded\|forward differs from ours auto"):
        list(fft_convolution.measure(fft_convolution.QUICK[0], repeats=1))


def measured(kinds, parts):
    """Least seconds by method, one dictionary a case; the parts together."""
    cases = {}
    for row in RESULT["rows"]:
        if row["kind"] in kinds and row["part"] in parts:
            case = row["kind"], row["n"], row["taps"]
            seconds = cases.setdefault(case, {})
            method = row["method"].removeprefix("ours ")
            seconds[method] = seconds.get(method, 0) + row["seconds"]["min"]
    return cases


@pytest.mark.skipif(_choice.jax.default_backend() != "cpu", reason="measured on CPU")
@pytest.mark.parametrize("kind", ["long", "partial", "sparse"])
def test_auto_takes_what_was_measured_fastest(kind):
    cases = measured((kind,), ("forward", "gradient"))
    assert cases
    lost = []
    for (_, n, taps), seconds in cases.items():
        chosen = _choice.choose(n, taps)
        if kind == "sparse":
            chosen = _choice.choose_sparse(taps)
        methods = _choice.SPARSE_METHODS if kind == "sparse" else _choice.METHODS
        best = min(seconds[m] for m in methods if m in seconds)
        # "auto" is the same program as the method it chose, measured once more.
        lost.append(min(seconds[chosen], seconds["auto"]) / best)
    assert max(lost) < SLACK, lost
    assert np.median(lost) < 1.1, lost


def test_auto_beats_the_padded_transform():
    cases = measured(("long", "partial"), ("forward",))
    ratios = [seconds["padded"] / seconds["auto"] for seconds in cases.values()]
    assert np.median(ratios) > 1.2, ratios
