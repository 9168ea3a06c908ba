"""Fewer terms for a CP tensor: selection of terms, then alternating least squares.

There is no closed form for the best CP approximation. The search here is
deterministic: for a trial rank, terms are selected by a pivoted QR factorization of
the terms as vectors (interpolative decomposition: Biagioni, Beylkin, Beylkin,
Randomized interpolative decomposition of separated representations, J. Comput. Phys.
281 (2015)), and where that is not enough alternating least squares go on from it. The
rank is found by bisection. Every accepted result is measured, not estimated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from pinns._sweeps import Cut, cp_axis_cuts, cp_norm, khatri_rao, triangular


SWEEPS = 60
SWEEPS_PER_CHECK = 15


def reduced(
    factors: Sequence[np.ndarray], tolerance: float
) -> tuple[int, list[np.ndarray]]:
    """Returns a rank S and matrices (R, S), so that factors times them stay close.

    Args:
        factors: (n_i, R), square roots of the weights multiplied in.
        tolerance: relative error in the Frobenius norm.
    """
    rank = factors[0].shape[1]
    unchanged = rank, [np.eye(rank)] * len(factors)
    norm = cp_norm(factors)
    if norm == 0.0:
        return 1, [np.zeros((rank, 1))] * len(factors)
    cuts = cp_axis_cuts(factors)
    # The subspaces take a tenth of what is allowed; the terms have the rest.
    share = 0.1 * tolerance * norm / len(factors) ** 0.5
    pairs = [c.maps(c.rank(share)) for c in cuts]
    terms = [n for _, n in pairs]
    low, high, best = 0, rank, unchanged
    while high - low > 1:
        middle = (low + high) // 2
        found = _fit(cuts, pairs, terms, middle, tolerance * norm)
        if found is None:
            low = middle
        else:
            high, best = middle, (middle, found)
    return best


def _fit(cuts, pairs, terms, rank: int, allowed: float) -> list[np.ndarray] | None:
    trial = _selected(terms, rank)
    for sweep in range(0, SWEEPS + 1, SWEEPS_PER_CHECK):
        if sweep:
            for _ in range(SWEEPS_PER_CHECK):
                trial = _alternate(terms, trial)
        maps = [m @ t for (m, _), t in zip(pairs, trial, strict=True)]
        if _error(cuts, maps) <= allowed:
            return maps
    return None


def _error(cuts: Sequence[Cut], maps: Sequence[np.ndarray]) -> float:
    both = [
        np.concatenate([c.left, (-1.0 if k == 0 else 1.0) * c.left @ m], axis=1)
        for k, (c, m) in enumerate(zip(cuts, maps, strict=True))
    ]
    return cp_norm(both)


def _selected(terms: Sequence[np.ndarray], rank: int) -> list[np.ndarray]:
    """Returns the most independent terms, weighted to come closest to the sum."""
    start = np.ones((1, terms[0].shape[1]))
    columns = reduce(lambda a, b: triangular(khatri_rao(a, b)), terms, start)
    chosen = _pivots(columns, rank)
    weights = np.linalg.lstsq(columns[:, chosen], columns.sum(axis=1), rcond=None)[0]
    trial = [t[:, chosen] for t in terms]
    trial[0] = trial[0] * weights[None, :]
    return trial


def _pivots(columns: np.ndarray, count: int) -> list[int]:
    rest = columns.copy()
    chosen: list[int] = []
    for _ in range(count):
        sizes = np.linalg.norm(rest, axis=0)
        sizes[chosen] = -1.0
        pivot = int(np.argmax(sizes))
        chosen.append(pivot)
        if sizes[pivot] > 0.0:
            direction = rest[:, pivot] / sizes[pivot]
            rest = rest - direction[:, None] * (direction @ rest)[None, :]
    return chosen


def _alternate(
    terms: Sequence[np.ndarray], trial: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Returns the trial after one sweep of least squares, axis by axis."""
    trial = list(trial)
    own = [t.T @ t for t in trial]
    mixed = [a.T @ t for a, t in zip(terms, trial, strict=True)]
    one, two = np.ones_like(own[0]), np.ones_like(mixed[0])
    behind = [(one, two)]
    for k in range(len(trial) - 1, 0, -1):
        a, b = behind[-1]
        behind.append((a * own[k], b * mixed[k]))
    behind.reverse()
    before = (one, two)
    for k, target in enumerate(terms):
        gram, cross = before[0] * behind[k][0], before[1] * behind[k][1]
        solved = np.linalg.lstsq(gram, (target @ cross).T, rcond=1e-14)[0].T
        if k < len(trial) - 1:  # sizes travel along to the last axis
            norms = np.linalg.norm(solved, axis=0)
            solved = solved / np.where(norms > 0.0, norms, 1.0)[None, :]
        trial[k] = solved
        a, b = solved.T @ solved, target.T @ solved
        before = (before[0] * a, before[1] * b)
    return trial
