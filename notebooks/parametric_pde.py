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
# # A PDE for all values of its parameters
#
# How does the temperature of a plate depend on its two conductivities? Solve once, for
# all of them: a parameter is an axis of the box like any other. The equation
#
# $$a\, u_{xx} + b\, u_{yy} + f(x, y) = 0 \text{ on the unit square}, \qquad
#   u = 0 \text{ on its sides},$$
#
# is solved here for all $a, b \in [0.5, 2]$ at once. A grid over four axes is large;
# a separable model needs four one-dimensional bases.

# %%
import os

import jax
import jax.numpy as jnp
import numpy as np

import pinns


# The test suite runs this notebook at smaller size.
size = 8 if os.environ.get("SEPARAX_QUICK") else 14

# %% [markdown]
# ## State it
#
# $a$ and $b$ enter the residual as coordinates. No derivative is taken along them.

# %%
box = pinns.Box(x=(0.0, 1.0), y=(0.0, 1.0), a=(0.5, 2.0), b=(0.5, 2.0))


def heater(x, y):
    return jnp.sin(jnp.pi * x) * jnp.sin(jnp.pi * y)


def plate(u, x, y, a, b):
    return a * u.d("x", 2) + b * u.d("y", 2) + heater(x, y)


def exact(x, y, a, b):
    return heater(x, y) / (jnp.pi**2 * (a + b))


problem = pinns.Problem(
    box, plate, [pinns.Dirichlet(0.0, axes=("x", "y"))], exact=exact
)

# %% [markdown]
# ## Solve it
#
# The problem is linear and separable, so no network is trained: `method="direct"`
# solves for the coefficients of products of Chebyshev polynomials.

# %%
solution = pinns.solve(problem, method="direct", size=size)
print(solution)
print(f"relative L2 error over all x, y, a, b: {solution.relative_l2(12):.1e}")

# %% [markdown]
# ## Use it
#
# The solution is a differentiable function of position and conductivities. The
# temperature at the center, for a few plates:

# %%
for a, b in ((0.5, 0.5), (1.0, 1.0), (2.0, 0.5)):
    print(f"a = {a}, b = {b}: {float(solution(0.5, 0.5, a, b)):.4f}")

# %% [markdown]
# Its sensitivity is a derivative along the axis of a parameter:

# %%
slope = float(solution.d("a")(0.5, 0.5, 1.0, 1.0))
print(f"du/da at the center: {slope:.5f}, exact {-1 / (4 * np.pi**2):.5f}")

# %% [markdown]
# And design is optimization over it. Which $a = b$ gives a center temperature of 0.04?
# Newton's method, with derivatives through the solution:


# %%
def center(a):
    return solution(0.5, 0.5, a, a) - 0.04


a = jnp.float32(1.0)
newton = jax.jit(lambda a: a - center(a) / jax.grad(center)(a))
for _ in range(5):
    a = newton(a)
print(f"a = {float(a):.4f}, exact {1 / (2 * np.pi**2 * 0.04):.4f}")

# %% [markdown]
# The other direction, from measured temperatures to conductivities, is an inverse
# problem: see the notebook `inverse_problem`.
