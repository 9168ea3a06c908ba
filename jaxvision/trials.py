"""A training repeated with other seeds: mean and spread of what it reaches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcore.training import ArrayBatches, fit
from jaxvision import registry, runs
from jaxvision._claims import check_seed
from jaxvision.starts import check_arrays, divided, start


class Trials(NamedTuple):
    """What came of each trial, and over all of them: mean and sample deviation."""

    rows: tuple[dict[str, float], ...]
    mean: dict[str, float]
    deviation: dict[str, float]


def trials(
    recipe: registry.Recipe,
    arrays: Mapping[str, np.ndarray],
    count: int = 20,
    *,
    holdout: float = 0.4,
    seed: int = 0,
    weights: str | Path | None = None,
    source: str = "jaxvision",
) -> Trials:
    """Returns the metrics of several trainings on the rows that each holds out.

    Trial `i` has the seed `seed + i`, which rows are held out among the rest, and is
    what `runs.train` and `runs.evaluate` give for it, without folders. What the system
    prepares before rows are held out is prepared once.

    Args:
        recipe, arrays, weights, source: as `runs.train` takes them.
        count: of trials.
        holdout: share of the rows that are evaluated and not trained on.

    Returns:
        Rows, mean and sample standard deviation (n - 1; 0 for one trial) by metric. NaN
        in a row, as the precision of a class that was never predicted, makes both NaN.

    Raises:
        ValueError: no trial, a holdout that leaves nothing to evaluate, or as
            `runs.train`.
    """
    where = "jaxvision.trials"
    if count < 1:
        raise ValueError(f"{where}: `count` must be a positive integer, got {count}")
    check_seed(where, seed)
    runs.check_holdout(where, holdout)
    check_arrays(f"{where}({recipe.name!r})", recipe, arrays)
    system = registry.find(where, recipe.name)
    task, prepared, rows = recipe.task(), False, []
    for number in range(seed, seed + count):
        key = jax.random.key(number)
        state = start(recipe, weights, key=key, source=source)
        if system.prepare is not None and not prepared:
            arrays, prepared = system.prepare(recipe.config, state, arrays), True
        shown, hidden = divided(recipe, state, arrays, holdout, number)
        if not len(next(iter(hidden.values()))):
            raise ValueError(
                f"{where}: `holdout` must leave rows to evaluate, got {holdout!r}"
            )
        size = recipe.config.batch_size
        batches: Any = ArrayBatches(dict(shown), size, seed=number, last="drop")
        result = fit(task, batches, recipe.config.steps, key=key, state=state)
        run = runs.Run(recipe, result.state, result.step)
        rows.append(runs.evaluate(run, hidden))
    found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return Trials(
        tuple(rows),
        {name: float(values.mean()) for name, values in found.items()},
        {
            name: float(values.std(ddof=1)) if count > 1 else 0.0
            for name, values in found.items()
        },
    )
