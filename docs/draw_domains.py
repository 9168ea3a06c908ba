"""Draws the pictures of docs/domains.md: `python docs/draw_domains.py`."""

from pathlib import Path

import jax
import jax.numpy as jnp

import pinns


IMAGES = Path(__file__).resolve().parent / "images"


def annulus() -> None:
    """A harmonic function between two circles, solved in a Chebyshev basis."""
    problem = pinns.problems.annulus(mode=4)
    solution = pinns.solve(problem, method="direct", size=(12, 40))
    solution.plot(IMAGES / "annulus.png", points=161)


def shell() -> None:
    """Poisson's equation between two spheres, on planes through the poles."""
    problem = pinns.problems.spherical_shell()
    solution = pinns.solve(problem, method="direct", size=(10, 14, 18))
    solution.plot(IMAGES / "spherical_shell.png", points=81, at={"phi": (0.0, 0.785)})


def hole() -> None:
    """A square plate with a round hole, by a pointwise network."""

    def exact(x, y):
        return x * y + (x**2 - y**2) / 2

    def circle(s):
        return 0.5 * jnp.cos(2 * jnp.pi * s), 0.5 * jnp.sin(2 * jnp.pi * s)

    plate = pinns.MaskedBox(
        lambda x, y: x**2 + y**2 - 0.25, x=(-1.0, 1.0), y=(-1.0, 1.0)
    )
    conditions = [
        pinns.Dirichlet(exact, weight=100.0),
        pinns.Boundary(circle, exact, weight=100.0),
    ]
    problem = pinns.Problem(
        plate, lambda u: u.laplacian(), conditions, exact=exact, name="plate"
    )
    solution = pinns.solve(
        problem,
        pinns.MLP(hidden=(24, 24)),
        points=512,
        sampling="rad",
        steps=4000,
        learning_rate=3e-3,
        key=jax.random.key(0),
    )
    solution.plot(IMAGES / "plate_with_hole.png", points=121)


if __name__ == "__main__":
    annulus()
    shell()
    hole()
