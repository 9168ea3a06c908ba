"""Half of a symmetric product of automata has the same value as the whole."""

import itertools

import numpy as np
import pytest

from pinns.factored.automaton import Union, compile_words, pair, square


def value(levels, grams):
    """Sums over paths the elementwise products of their matrices, by final state."""
    states = {0: np.ones_like(grams[0][0, 0])}
    for edges, own in zip(levels, grams, strict=True):
        following = {}
        for e in edges:
            if e.source in states:
                left, right, _ = e.symbol
                part = e.weight * states[e.source] * own[left, right]
                following[e.target] = following.get(e.target, 0.0) + part
        states = following
    return {state: total.sum() for state, total in states.items()}


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_pairs_in_one_order_are_enough(depth, rng):
    words = {}
    for symbols in itertools.product(range(3), repeat=depth):
        if rng.random() < 0.6:
            word = tuple((k, s) for k, s in enumerate(symbols) if s)
            words[word] = float(rng.integers(1, 4))
    automaton = compile_words(words, [0] * depth)
    grams = []
    for _ in range(depth):
        factors = rng.normal(size=(3, 6, 2))
        grams.append(np.einsum("vnr,wns->vwrs", factors, factors))
    marks = ("interior",) * depth
    found = []
    for levels in (pair(automaton, automaton, marks), square(automaton, marks)):
        union = Union(depth)
        union.add(levels, 0, 1.0)
        found.append((value(union.merged(), grams)[0], union.merged()))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-12)
    number = [sum(map(len, levels)) for _, levels in found]
    assert number[1] < number[0]
