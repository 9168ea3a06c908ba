"""Products of parameters of which the usual run takes what covers every pair."""

import itertools
from collections.abc import Sequence

import pytest


def pairs(*lists: Sequence) -> list:
    """Returns all combinations; those that add no pair of values are marked slow."""
    seen: set[tuple[int, int, int, int]] = set()
    chosen = set()
    # Each in turn the combination with most pairs that were not there yet.
    product = list(itertools.product(*(range(len(values)) for values in lists)))
    places = list(itertools.combinations(range(len(lists)), 2))
    found = {c: {(i, j, c[i], c[j]) for i, j in places} for c in product}
    while True:
        best = max(product, key=lambda c: len(found[c] - seen))
        if not found[best] - seen:
            break
        chosen.add(best)
        seen |= found[best]
    return [
        pytest.param(
            *(values[i] for values, i in zip(lists, c, strict=True)),
            marks=[] if c in chosen else [pytest.mark.slow],
        )
        for c in product
    ]
