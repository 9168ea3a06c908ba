# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Solve a PDE of your own
#
# A square plate is heated at one spot and cooled along its edges. The temperature
# $u(x, y)$ obeys
#
# $$u_{xx} + u_{yy} + q(x, y) = 0, \qquad
#   \frac{\partial u}{\partial n} + 2 u = 0 \text{ on all four edges},$$
#
# with the heater $q = 20\, e^{-30 ((x - 0.3)^2 + (y - 0.6)^2)}$. There is no formula
# for $u$, so we check the answer against a law that it must obey: in a steady state
# the edges carry away exactly the heat that the heater puts in.

# %%
import os

import jax
import jax.numpy as jnp
import numpy as np

import pinns


# The test suite runs this notebook with fewer steps.
steps = 300 if os.environ.get("SEPARAX_QUICK") else 10_000

# %% [markdown]
# ## State it
#
# A residual is an ordinary function. It receives the unknown as a *field* `u`, which
# knows its derivatives, and the coordinates by name. Conditions apply to every face
# of the box unless told otherwise.

# %%
box = pinns.Box(x=(0.0, 1.0), y=(0.0, 1.0))


def heater(x, y):
    return 20 * jnp.exp(-30 * ((x - 0.3) ** 2 + (y - 0.6) ** 2))


def heated_plate(u, x, y):
    return u.d("x", 2) + u.d("y", 2) + heater(x, y)


problem = pinns.Problem(box, heated_plate, [pinns.Robin(0.0, alpha=2.0, beta=1.0)])
problem

# %% [markdown]
# ## Solve it
#
# `CP(rank=16)` writes $u(x, y) = \sum_{r=1}^{16} a_r(x)\, b_r(y)$, where the $a_r$ are
# the outputs of one small network of $x$ and the $b_r$ those of one of $y$. The
# 40 x 40 collocation points need 80 evaluations of one-dimensional networks.
# With Gauss-Legendre points the loss is the squared $L^2$ norm of the residual.

# %%
solution = pinns.solve(
    problem,
    pinns.CP(rank=16),
    points=40,
    sampling="gauss_legendre",
    steps=steps,
    learning_rate=2e-3,
    key=jax.random.key(0),
)
print(solution)
print(f"{solution.timings['steps_per_second']:.0f} steps/s")
print(f"residual at unseen points (rms): {solution.residual_rms():.3f}")

# %%
solution.plot()

# %% [markdown]
# ## Check it
#
# Heat in: $\int q$. Heat out: $\oint 2u$. Both are one-dimensional quadratures of
# functions we already have; `solution(x, y)` takes one array per axis and returns the
# whole tensor grid.

# %%
nodes, weights = np.polynomial.legendre.leggauss(40)
nodes, weights = (nodes + 1) / 2, weights / 2

heat_in = weights @ np.asarray(heater(nodes[:, None], nodes[None, :])) @ weights
edges = sum(solution(end, nodes) + solution(nodes, end) for end in (0.0, 1.0))
heat_out = 2 * float(weights @ np.asarray(edges))
print(f"heat in {heat_in:.4f}, heat out {heat_out:.4f}")

# %% [markdown]
# ## Use it
#
# A solution is a pure function of its coordinates, so it goes anywhere a JAX function
# goes. How warm is a square sensor of width 0.2 centered at $c$, and in which
# direction should it move to get warmer? That is the gradient of an integral of $u$.


# %%
def sensor(center):
    """Mean temperature over the sensor."""
    x = center[0] + 0.2 * (jnp.asarray(nodes) - 0.5)
    y = center[1] + 0.2 * (jnp.asarray(nodes) - 0.5)
    return jnp.asarray(weights) @ solution(x, y) @ jnp.asarray(weights)


center = jnp.array([0.7, 0.3])
value, slope = jax.jit(jax.value_and_grad(sensor))(center)
print(f"temperature {value:.4f}, uphill direction {slope}")

# %% [markdown]
# The heater is up and to the left of the sensor, and the gradient says so. A few steps
# of gradient ascent find the warmest place:

# %%
climb = jax.jit(jax.grad(sensor))
for _ in range(200):
    center = center + 0.02 * climb(center)
print("warmest place for the sensor:", center)

# %% [markdown]
# Derivatives of the solution are functions too, for example the heat flux
# $-\nabla u$ at one point:

# %%
print("flux at (0.5, 0.5):", -solution.d("x")(0.5, 0.5), -solution.d("y")(0.5, 0.5))

# %% [markdown]
# Save it with `solution.save("runs/plate")` and read it back, in this or another
# process, with `pinns.load("runs/plate", problem)`.
