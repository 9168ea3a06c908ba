"""Small separable models against a pointwise network, at equal size and seconds.

Both train on the same tensor-product points with the same recipe and seeds; the
baseline's errors are measured in the same test. Medians of three seeds are compared:
the separable ones were 0.04 to 0.57 when the baseline's were 0.97 to 2.8 (2 CPU cores).
Seed by seed it need not hold: one of the tensor train on Klein-Gordon ends near the
baseline, at 0.57 to 1.2, depending on how many steps fit into the seconds.
"""

import jax
import numpy as np
import pytest

import pinns
from pinns import CP, MLP, TensorTrain, Tucker


pytestmark = pytest.mark.optimized

SEEDS = (0, 1, 2)
SECONDS = {"helmholtz": 2.0, "klein_gordon": 3.0}
MODELS = [CP(rank=16), TensorTrain(rank=11), Tucker(rank=11)]
BASELINE = MLP((34, 34, 34))


def train(name, model):
    """Errors of one model over the seeds."""
    if name == "helmholtz":
        problem, points = pinns.problems.helmholtz3d(a=(2, 1, 1)), 16
    else:
        problem, points = pinns.problems.klein_gordon(velocity=True), (32, 10, 10)
    errors = []
    for seed in SEEDS:
        solution = pinns.solve(
            problem,
            model,
            points=points,
            sampling="stratified",
            steps=10**6,
            seconds=SECONDS[name],
            learning_rate=2e-3,
            key=jax.random.key(seed),
        )
        errors.append(solution.relative_l2(30))
    return errors


@pytest.fixture(scope="module")
def baseline():
    return {name: train(name, BASELINE) for name in SECONDS}


def test_models_have_equal_size():
    box = pinns.Box.cube(3)
    size = BASELINE.num_parameters(box)
    assert all(abs(m.num_parameters(box) / size - 1) < 0.02 for m in MODELS)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
@pytest.mark.parametrize("name", list(SECONDS))
def test_separable_models_beat_a_pointwise_network(name, model, baseline):
    errors = train(name, model)
    assert np.median(errors) < np.median(baseline[name]), (errors, baseline[name])
