"""Data cut into nodes: complete and disjoint, skewed as asked for, padded right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxvision import data


LABELS = np.random.default_rng(0).integers(0, 6, 1200)


def complete(parts, count):
    return np.array_equal(np.sort(np.concatenate(parts)), np.arange(count))


@settings(max_examples=40)
@given(
    st.integers(0, 10**6),
    st.integers(1, 8),
    st.sampled_from([0.1, 0.5, 5.0]),
    st.booleans(),
)
def test_dirichlet_deals_every_row_once(seed, nodes, alpha, balance):
    parts = data.partition_dirichlet(
        LABELS, nodes, alpha, seed=seed, balance=balance, min_size=10
    )
    assert len(parts) == nodes
    assert complete(parts, len(LABELS))
    assert min(map(len, parts)) >= 10
    again = data.partition_dirichlet(
        LABELS, nodes, alpha, seed=seed, balance=balance, min_size=10
    )
    for one, other in zip(parts, again, strict=True):
        np.testing.assert_array_equal(one, other)
    if balance:
        # A node takes no more classes once it is full: at most one beyond its share.
        most = len(LABELS) / nodes + np.bincount(LABELS).max()
        assert max(map(len, parts)) <= most


def histograms(alpha, seeds=5):
    parts = [data.partition_dirichlet(LABELS, 5, alpha, seed=s) for s in range(seeds)]
    return np.array([[np.bincount(LABELS[p], minlength=6) for p in ps] for ps in parts])


def test_alpha_says_how_skewed_the_classes_are():
    def entropy(counts):
        share = counts / counts.sum(-1, keepdims=True)
        logs = np.log(share, out=np.zeros_like(share), where=share > 0)
        return float(-(share * logs).sum(-1).mean())

    skewed, mild, even = (histograms(alpha) for alpha in (0.1, 1.0, 1e4))
    assert entropy(skewed) < entropy(mild) - 0.3 < entropy(even) - 0.5
    # Pearson's statistic of a table with (5 - 1) (6 - 1) = 20 degrees of freedom: the
    # 99.9 % quantile is 45; cut points at whole rows leave it far below.
    for counts in even:
        expected = counts.sum(1, keepdims=True) * counts.sum(0) / counts.sum()
        assert ((counts - expected) ** 2 / expected).sum() < 45
    for counts in skewed:
        expected = counts.sum(1, keepdims=True) * counts.sum(0) / counts.sum()
        assert ((counts - expected) ** 2 / expected).sum() > 450


def test_iid_and_local_splits():
    parts = data.partition_iid(103, 4, seed=1)
    assert complete(parts, 103)
    assert sorted(map(len, parts)) == [25, 26, 26, 26]
    train, test = data.split_local(parts, train=0.75, seed=2)
    for part, kept, held in zip(parts, train, test, strict=True):
        assert len(kept) == int(0.75 * len(part))
        np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), part)
    other, _ = data.split_local(parts, train=0.75, seed=3)
    assert not np.array_equal(train[0], other[0])


def test_stacks_hold_the_rows_of_the_nodes():
    x = np.arange(20.0).reshape(10, 2)
    parts = [np.array([1, 4, 7]), np.array([0]), np.array([2, 9])]
    found = data.stack_nodes({"x": x, "y": np.arange(10)}, parts, size=4)
    assert found["rows"]["x"].shape == (3, 4, 2)
    assert found["valid"].sum(axis=1).tolist() == [3, 1, 2]
    for k, part in enumerate(parts):
        valid = found["valid"][k]
        np.testing.assert_array_equal(found["rows"]["x"][k][valid], x[part])
        assert set(found["rows"]["y"][k][~valid]) <= {part[0]}


def test_schedules_have_every_task_in_one_stretch():
    found = data.task_schedule(6, 4, 30, seed=0)
    assert found.shape == (6, 30)
    for row in found:
        changes = np.flatnonzero(np.diff(row)) + 1
        assert len(changes) == 3
        assert sorted(row[[0, *changes]].tolist()) == [0, 1, 2, 3]
    # Every node at its own pace, in its own order.
    assert len({tuple(row) for row in found}) == 6


def test_refusals():
    deal = data.partition_dirichlet
    for arguments, error, message in (
        (([0.5], 1, 1.0), TypeError, "`labels` must be integers, got float"),
        ((LABELS, 0, 1.0), ValueError, "`num_nodes` must be a positive integer, got 0"),
        ((LABELS, 2, 0.0), ValueError, "`alpha` must be positive, got 0.0"),
        ((LABELS[:25], 3, 1.0), ValueError, "`min_size` must be at most 8 for 3 nodes"),
        ((LABELS[:4], 5, 1.0), ValueError, "at most the number of rows, 4, got 5"),
    ):
        with pytest.raises(error, match=f"partition_dirichlet: .*{message}"):
            deal(*arguments, seed=0)
    one_class = np.zeros(20, int)
    with pytest.raises(ValueError, match="`alpha` must be larger, or `min_size` = 10 "):
        deal(one_class, 2, 1e-6, seed=0, min_size=10)
    with pytest.raises(ValueError, match="`count` must be a positive integer, got 0"):
        data.partition_iid(0, 1, seed=0)
    with pytest.raises(ValueError, match=r"`train` must be in \(0, 1\), got 1"):
        data.split_local([np.arange(4)], train=1, seed=0)
    with pytest.raises(ValueError, match=r"got 1 for node 1 and train=0\.75"):
        data.split_local([np.arange(4), np.arange(1)], seed=0)
    with pytest.raises(ValueError, match=r"every node a row, got sizes \[1, 0\]"):
        data.stack_nodes({}, [np.arange(1), np.arange(0)])
    with pytest.raises(ValueError, match=r"`size` must be at least 3, .*, got 2"):
        data.stack_nodes({}, [np.arange(3)], size=2)
    with pytest.raises(ValueError, match="at least the number of tasks, 3, got 2"):
        data.task_schedule(1, 3, 2, seed=0)
