"""Draws a picture for docs/nonlinear.md and one for docs/weighting_and_sampling.md.

`python docs/draw_topics.py`
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import pinns
from jaxcore import sampling


IMAGES = Path(__file__).resolve().parent / "images"
LOWER, UPPER, COUNT = [0.0, 0.0], [1.0, 1.0], 256


def burgers() -> None:
    """Burgers' equation with viscosity 0.01 / pi, crowded around its layer."""
    problem = pinns.problems.burgers1d()
    solution = pinns.solve(
        problem, method="newton", size=(40, 64), cluster={"x": (0.0, 0.01)}
    )
    solution.plot(IMAGES / "burgers.png", points=201)


def ring(points):
    """A residual that is large on a circle."""
    radius = jnp.sqrt(jnp.sum((points - 0.5) ** 2, axis=1))
    return jnp.exp(-(((radius - 0.3) / 0.03) ** 2))


def points() -> None:
    """Points of each kind; RAD and R3 after ten rounds of a fixed residual."""
    key = jax.random.key(0)
    uniform = sampling.uniform_points(key, COUNT, LOWER, UPPER)
    rad = r3 = uniform
    for one in jax.random.split(key, 10):
        keys = jax.random.split(one, 3)
        pool = sampling.uniform_points(keys[0], 10 * COUNT, LOWER, UPPER)
        rad = sampling.rad(keys[1], pool, ring(pool), COUNT)
        r3 = sampling.r3(keys[2], r3, ring(r3), LOWER, UPPER)
    kinds = {
        "uniform": uniform,
        "latin_hypercube": sampling.latin_hypercube(key, COUNT, LOWER, UPPER),
        "sobol": sampling.sobol(key, COUNT, LOWER, UPPER),
        "halton": sampling.halton(key, COUNT, LOWER, UPPER),
        "rad": rad,
        "r3": r3,
    }
    figure = Figure(figsize=(9, 6.2), layout="constrained")
    for axes, (name, drawn) in zip(
        figure.subplots(2, 3).flat, kinds.items(), strict=True
    ):
        x, y = np.asarray(drawn).T
        axes.plot(x, y, ".", markersize=3, color="black")
        axes.set(title=name, xlabel="x", ylabel="y", aspect="equal")
        axes.set(xlim=(0, 1), ylim=(0, 1))
    figure.savefig(IMAGES / "points.png", dpi=110)


if __name__ == "__main__":
    burgers()
    points()
