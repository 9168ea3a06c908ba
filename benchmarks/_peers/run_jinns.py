"""jinns: `python -m benchmarks._peers.run_jinns NAME SECONDS`.

Its meshes have borders in one and two dimensions; the values on the faces of a box in
three are therefore given as observations.
"""

import importlib.metadata
import sys
import time
from itertools import pairwise

import numpy as np

from benchmarks._peers.statement import (
    HELMHOLTZ,
    HIDDEN,
    INTERIOR,
    LEARNING_RATE,
    STATEMENTS,
    report,
)


# Iterations from which the speed is measured.
TRIAL = 20


def main(name: str, seconds: float) -> None:
    """Trains for about so many seconds, compilation apart, and reports."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import jinns
    import optax

    stated = STATEMENTS[name]

    def exact(c):
        if name == "klein_gordon":
            return (c[1] + c[2]) * jnp.cos(2 * c[0]) + c[1] * c[2] * jnp.sin(2 * c[0])
        p = np.pi * c
        return jnp.sin(4 * p[0]) * jnp.sin(4 * p[1]) * jnp.sin(3 * p[2])

    class Equation(jinns.loss.PDEStatio):
        def equation(self, x, u, params):
            def value(x):
                return u(x, params)[0]

            def second(i):
                along = jnp.zeros(3).at[i].set(1.0)
                slope = lambda x: jax.jvp(value, (x,), (along,))[1]  # noqa: E731
                return jax.jvp(slope, (x,), (along,))[1]

            e = exact(x)
            if name == "klein_gordon":
                wave = second(0) - second(1) - second(2) + value(x) ** 2
                return (wave - e**2 + 4 * e)[None]
            return (second(0) + second(1) + second(2) + value(x) - HELMHOLTZ * e)[None]

    began = time.perf_counter()
    keys = jax.random.split(jax.random.PRNGKey(0), 3)
    sizes = (3, *HIDDEN, 1)
    layers: list = []
    for a, b in pairwise(sizes):
        layers += [(eqx.nn.Linear, a, b), (jax.nn.tanh,)]
    u, nn_params = jinns.nn.PINN_MLP.create(
        key=keys[0], eqx_list=tuple(layers[:-1]), eq_type="PDEStatio"
    )
    params = jinns.parameters.Params(nn_params=nn_params, eq_params={})
    lower, upper = np.asarray(stated.intervals).T
    mesh = jinns.data.CubicMeshPDEStatio(
        key=keys[1],
        n=INTERIOR,
        dim=3,
        min_pts=tuple(lower.tolist()),
        max_pts=tuple(upper.tolist()),
    )
    points, values = stated.boundary()
    observed = jinns.data.DataGeneratorObservations(
        key=keys[2],
        obs_batch_size=None,
        observed_pinn_in=jnp.asarray(points),
        observed_values=jnp.asarray(values),
    )
    loss = jinns.loss.LossPDEStatio(
        u=u,
        dynamic_loss=Equation(),
        params=params,
        loss_weights=jinns.loss.LossWeightsPDEStatio(dyn_loss=1.0, observations=1.0),
    )

    def train(params, count):
        return jinns.solve(
            n_iter=count,
            init_params=params,
            data=mesh,
            loss=loss,
            optimizer=optax.adam(LEARNING_RATE),
            obs_data=observed,
            print_loss_every=10**9,
            verbose=False,
        )[0]

    # The number of iterations is no argument of its compiled loop: what a call takes
    # is compilation and so many iterations, told apart by two lengths.
    times = []
    for count in (TRIAL, 3 * TRIAL):
        start = time.perf_counter()
        jax.block_until_ready(jax.tree.leaves(train(params, count).nn_params))
        times.append(time.perf_counter() - start)
    each = max((times[1] - times[0]) / (2 * TRIAL), 1e-4)
    setup = max(times[0] - TRIAL * each, 0.0)
    count = max(int(seconds / each), 1)
    start = time.perf_counter()
    found = train(params, count)
    jax.block_until_ready(jax.tree.leaves(found.nn_params))
    spent = max(time.perf_counter() - start - setup, 1e-9)
    predict = jax.jit(jax.vmap(lambda x: u(x, found)))
    report(
        relative_l2=stated.error(predict),
        iterations=count,
        seconds=spent,
        setup_seconds=start - began,
        version=importlib.metadata.version("jinns"),
    )


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
