"""Sweeps over many axes run in `lax.scan`, with the numbers of unrolled ones."""

import jax
import numpy as np
import pytest

import pinns
from pinns.factored import FactoredLoss, forms


MODELS = {
    "cp": pinns.CP(rank=3, hidden=(4,)),
    "tt": pinns.TensorTrain(rank=2, hidden=(4,)),
    "tucker": pinns.Tucker(rank=2, hidden=(4,)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_scanned_sweep_is_the_unrolled_one(name, monkeypatch):
    dimension = 5
    box = pinns.Box(**{f"x{i}": (-1.0, 1.0) for i in range(dimension)})

    def residual(u, *x):
        diffusion = sum(u.d(f"x{i}", 2) for i in range(dimension))
        return diffusion + x[0] * x[3] * u.d("x1").d("x2") + x[2] * u

    conditions = [
        pinns.Dirichlet(lambda *x: x[0] * x[2]),
        pinns.Neumann(1.0, axes="x1", weight=0.5),
    ]
    problem = pinns.Problem(box, residual, conditions)
    model = MODELS[name]
    found = {}
    with jax.enable_x64():
        points = box.points((4,) * dimension, "gauss_legendre", dtype="float64")
        params = model.init(jax.random.key(0), box, dtype="float64")
        for longest in (dimension, 1):
            monkeypatch.setattr(forms, "UNROLLED", longest)
            monkeypatch.setattr(forms, "UNROLLED_TRANSFERS", longest)
            loss = FactoredLoss(problem, model, points, choose="factored")
            prepared = loss.prepare(points)
            step = jax.jit(jax.value_and_grad(lambda p, a, own=loss: own(p, a)[0]))
            text = str(jax.make_jaxpr(step)(params, prepared))
            assert ("scan[" in text) == (longest == 1)
            found[longest] = step(params, prepared)
    for one, other in zip(*map(jax.tree.leaves, found.values()), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-11, atol=1e-12)
