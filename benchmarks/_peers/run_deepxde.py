"""DeepXDE, JAX backend: `python -m benchmarks._peers.run_deepxde NAME SECONDS`."""

import os
import sys
import time

import numpy as np

from benchmarks._peers.statement import (
    HELMHOLTZ,
    HIDDEN,
    INTERIOR,
    LEARNING_RATE,
    STATEMENTS,
    report,
)


def main(name: str, seconds: float) -> None:
    """Trains for so many seconds, compilation apart, and reports."""
    os.environ["DDE_BACKEND"] = "jax"
    import deepxde as dde
    import jax.numpy as jnp

    stated = STATEMENTS[name]

    def exact(c):
        a, b, d = c[:, 0:1], c[:, 1:2], c[:, 2:3]
        if name == "klein_gordon":
            return (b + d) * jnp.cos(2 * a) + b * d * jnp.sin(2 * a)
        p = np.pi
        return jnp.sin(4 * p * a) * jnp.sin(4 * p * b) * jnp.sin(3 * p * d)

    def residual(c, u):
        second = [dde.grad.hessian(u, c, i=i, j=i)[0] for i in range(3)]
        value, e = u[0], exact(c)
        if name == "klein_gordon":
            return second[0] - second[1] - second[2] + value**2 - e**2 + 4 * e
        return second[0] + second[1] + second[2] + value - HELMHOLTZ * e

    began = time.perf_counter()
    geometry = dde.geometry.Cuboid(*np.asarray(stated.intervals).T.tolist())
    condition = dde.icbc.PointSetBC(*stated.boundary())
    data = dde.data.PDE(
        geometry,
        residual,
        [condition],
        num_domain=INTERIOR,
        anchors=None,
        train_distribution="pseudo",
    )
    network = dde.nn.FNN([3, *HIDDEN, 1], "tanh", "Glorot normal")
    model = dde.Model(data, network)
    model.compile("adam", lr=LEARNING_RATE, verbose=0)
    model.train(iterations=2, display_every=10**9, verbose=0)
    before = model.train_state.iteration
    ready = time.perf_counter()
    timer = dde.callbacks.Timer(seconds / 60)
    model.train(iterations=10**9, callbacks=[timer], display_every=10**9, verbose=0)
    spent = time.perf_counter() - ready
    report(
        relative_l2=stated.error(model.predict),
        iterations=int(model.train_state.iteration - before),
        seconds=spent,
        setup_seconds=ready - began,
        version=dde.__version__,
    )


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
