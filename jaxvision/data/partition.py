"""Data sets cut into nodes of a federation: partitions, local splits, padded stacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxvision import _checks
from jaxvision._checks import Values
from jaxvision.layers._checks import positive


ATTEMPTS = 10_000


def partition_dirichlet(
    labels: Values,
    num_nodes: int,
    alpha: float,
    *,
    seed: int,
    min_size: int = 10,
    balance: bool = True,
) -> list[np.ndarray]:
    """Returns which rows each node holds, with classes in unequal shares.

    The rows of each class are dealt by shares `p ~ Dirichlet(alpha, ..., alpha)`, drawn
    anew for each class: equal shares for large `alpha`, few classes a node for small.
    With `balance`, a node that holds `n / num_nodes` rows gets none of the classes that
    follow. All is repeated until every node has `min_size` rows.

    Args:
        labels: (n,) integers.
        num_nodes: N.
        alpha: positive.
        seed: of everything.
        min_size: the fewest rows of a node.
        balance: see above.

    Returns:
        N sorted arrays of row numbers, disjoint and together all of them.

    Raises:
        TypeError: labels are no integers.
        ValueError: an argument out of range, or no such partition was found.

    Example:
        >>> import numpy as np
        >>> labels = np.repeat(np.arange(4), 25)
        >>> parts = partition_dirichlet(labels, 3, 0.5, seed=0)
        >>> sum(map(len, parts)), min(map(len, parts)) >= 10
        (100, True)

    Source: Palazzo et al., FedRewind, ICPR 2024, section 4; the balance and the least
    size are those of the authors' code.
    """
    where = "jaxvision.data.partition_dirichlet"
    labels = np.asarray(_checks.integers(where, "labels", labels))
    _check_nodes(where, num_nodes, len(labels) if labels.ndim == 1 else 0)
    positive(where, min_size=min_size)
    _checks.positive(where, "alpha", alpha)
    if min_size * num_nodes > len(labels):
        raise ValueError(
            f"{where}: `min_size` must be at most {len(labels) // num_nodes} for "
            f"{num_nodes} nodes and {len(labels)} rows, got {min_size}"
        )
    rng = np.random.default_rng(seed)
    full = len(labels) / num_nodes
    for _ in range(ATTEMPTS):
        parts = _dealt(rng, labels, num_nodes, alpha, full if balance else np.inf)
        if min(map(len, parts)) >= min_size:
            return [np.sort(part) for part in parts]
    raise ValueError(
        f"{where}: `alpha` must be larger, or `min_size` = {min_size} smaller: none of "
        f"{ATTEMPTS:,} draws gave every node so many rows, got {alpha!r}"
    )


def _dealt(
    rng: np.random.Generator,
    labels: np.ndarray,
    num_nodes: int,
    alpha: float,
    full: float,
) -> list[np.ndarray]:
    parts = [np.zeros(0, np.int64) for _ in range(num_nodes)]
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        open_ = np.array([len(part) < full for part in parts], float)
        shares = rng.dirichlet(np.full(num_nodes, float(alpha))) * open_
        # All of a tiny alpha's mass may lie on nodes that are full.
        shares = shares if shares.sum() > 0 else open_
        ends = (np.cumsum(shares / shares.sum()) * len(rows)).astype(int)[:-1]
        dealt = np.split(rows, ends)
        parts = [np.concatenate(pair) for pair in zip(parts, dealt, strict=True)]
    return parts


def partition_iid(count: int, num_nodes: int, *, seed: int) -> list[np.ndarray]:
    """Returns which of `count` rows each node holds: equally many, at random.

    Raises:
        ValueError: fewer rows than nodes, or a number that is not positive.

    Example:
        >>> [len(part) for part in partition_iid(10, 3, seed=0)]
        [4, 3, 3]
    """
    where = "jaxvision.data.partition_iid"
    positive(where, count=count)
    _check_nodes(where, num_nodes, count)
    order = np.random.default_rng(seed).permutation(count)
    return [np.sort(part) for part in np.array_split(order, num_nodes)]


def split_local(
    parts: Sequence[np.ndarray], *, train: float = 0.75, seed: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns the rows that each node trains on, and those that it is tested on.

    Args:
        parts: rows of each node.
        train: share of them to train on, in (0, 1), rounded down to a row.
        seed: of the choice.

    Raises:
        ValueError: a share out of range, or a node that would have no rows of a kind.

    Example:
        >>> train, test = split_local(partition_iid(8, 2, seed=0), seed=0)
        >>> [len(part) for part in train], [len(part) for part in test]
        ([3, 3], [1, 1])
    """
    where = "jaxvision.data.split_local"
    if not 0 < train < 1:
        raise ValueError(f"{where}: `train` must be in (0, 1), got {train!r}")
    kept, held = [], []
    for node, part in enumerate(parts):
        count = int(train * len(part))
        if not 0 < count < len(part):
            raise ValueError(
                f"{where}: `parts` must leave every node rows to train and to test on, "
                f"got {len(part)} for node {node} and train={train}"
            )
        order = np.random.default_rng([seed, node]).permutation(part)
        kept.append(np.sort(order[:count]))
        held.append(np.sort(order[count:]))
    return kept, held


def stack_nodes(
    arrays: Mapping[str, Any], parts: Sequence[np.ndarray], *, size: int = 0
) -> dict[str, Any]:
    """Returns the rows of all nodes in arrays of one shape.

    Args:
        arrays: with equal first axes.
        parts: rows of each of the N nodes.
        size: M; default the rows of the largest node.

    Returns:
        `"rows"`: the arrays, (N, M, ...); `"valid"`: (N, M) booleans, False where a
        node has fewer rows. There its first row is repeated.

    Raises:
        ValueError: a node without rows, or with more than `size`.

    Example:
        >>> import numpy as np
        >>> parts = [np.array([0, 1]), np.array([2])]
        >>> found = stack_nodes({"x": np.array([7, 8, 9])}, parts)
        >>> found["rows"]["x"].tolist(), found["valid"].tolist()
        ([[7, 8], [9, 9]], [[True, True], [True, False]])
    """
    where = "jaxvision.data.stack_nodes"
    sizes = [len(part) for part in parts]
    if not sizes or min(sizes) < 1:
        raise ValueError(
            f"{where}: `parts` must give every node a row, got sizes {sizes}"
        )
    most = size or max(sizes)
    if most < max(sizes):
        raise ValueError(
            f"{where}: `size` must be at least {max(sizes)}, the rows of the largest "
            f"node, got {size}"
        )
    valid = np.arange(most) < np.array(sizes)[:, None]
    index = np.stack([np.resize(part[:1], most) for part in parts])
    index[valid] = np.concatenate(list(parts))
    return {
        "rows": {name: np.asarray(array)[index] for name, array in arrays.items()},
        "valid": valid,
    }


def task_schedule(
    num_nodes: int, num_tasks: int, rounds: int, *, seed: int
) -> np.ndarray:
    """Returns which task each node is at in each round, (N, rounds) int32.

    For continual learning at every node's own pace: each node has the tasks in an order
    of its own, and changes task at rounds of its own; every task has at least one.

    Raises:
        ValueError: fewer rounds than tasks, or a number that is not positive.

    Example:
        >>> task_schedule(2, 2, 4, seed=0).tolist()
        [[0, 0, 0, 1], [1, 1, 0, 0]]

    Source: Shenaj et al., Asynchronous Federated Continual Learning, CVPR 2023.
    """
    where = "jaxvision.data.task_schedule"
    positive(where, num_nodes=num_nodes, num_tasks=num_tasks, rounds=rounds)
    if rounds < num_tasks:
        raise ValueError(
            f"{where}: `rounds` must be at least the number of tasks, {num_tasks}, got "
            f"{rounds}"
        )
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(num_nodes):
        starts = rng.choice(np.arange(1, rounds), num_tasks - 1, replace=False)
        place = np.searchsorted(np.sort(starts), np.arange(rounds), side="right")
        found.append(rng.permutation(num_tasks)[place])
    return np.array(found, np.int32)


def _check_nodes(where: str, num_nodes: int, count: int) -> None:
    positive(where, num_nodes=num_nodes)
    if num_nodes > count:
        raise ValueError(
            f"{where}: `num_nodes` must be at most the number of rows, {count}, got "
            f"{num_nodes}"
        )
