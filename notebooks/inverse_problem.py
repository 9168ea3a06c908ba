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
# # An inverse problem
#
# A dye drifts and spreads in a channel,
#
# $$c_t + v\, c_x = D\, c_{xx},$$
#
# and we want the speed $v$ and the diffusivity $D$. All we have are 150 noisy
# concentrations, measured at random places and times. Neither the concentration at the
# start nor at the ends of the channel is known.

# %%
import os

import jax
import jax.numpy as jnp
import numpy as np

import pinns


# The test suite runs this notebook with fewer steps.
steps = 25 if os.environ.get("SEPARAX_QUICK") else 100

# %% [markdown]
# ## Measure
#
# The measurements are synthetic: an exact solution plus Gaussian noise, so that we can
# check the answer. The solver never sees the true values.

# %%
true_v, true_D, noise = 0.6, 0.05, 0.02


def exact(t, x):
    decay = jnp.exp(-true_D * jnp.pi**2 * t)
    wave = decay * jnp.sin(jnp.pi * (x - true_v * t))
    return wave + 0.5 * decay**4 * jnp.cos(2 * jnp.pi * (x - true_v * t))


rng = np.random.default_rng(0)
points = rng.random((150, 2))  # columns t, x
values = np.asarray(exact(*points.T)) + noise * rng.standard_normal(150)

# %% [markdown]
# ## State it
#
# Unknown numbers are `parameters` of the problem. The residual takes them by name and
# uses them like any other number. `positive=True` keeps the diffusivity positive: its
# logarithm is what the solver moves.

# %%
box = pinns.Box(t=(0.0, 1.0), x=(0.0, 1.0))


def drift(c, v, D):
    return c.d("t") + v * c.d("x") - D * c.d("x", 2)


problem = pinns.Problem(
    box,
    drift,
    [pinns.Data(points, values)],
    unknowns=("c",),
    parameters={
        "v": pinns.Unknown(0.0, exact=true_v),
        "D": pinns.Unknown(1.0, positive=True, exact=true_D),
    },
    exact=exact,
)
problem

# %% [markdown]
# ## Solve it
#
# Concentration and numbers are found together. A product of an unknown number and a
# derivative stays factored, so no grid is formed.

# %%
solution = pinns.solve(
    problem,
    pinns.CP(rank=4, network="legendre", hidden=(12,)),
    points=20,
    steps=steps,
    key=jax.random.key(0),
)
print(solution, "by", solution.settings["method"])
for name, value in solution.parameters.items():
    print(f"{name} = {value:.4f}")

# %% [markdown]
# ## How sure are we?
#
# `uncertainty` linearizes at the solution: noise in the measurements moves the
# concentration and both numbers together. The noise itself is estimated from what the
# solution leaves of the measurements.

# %%
found = solution.uncertainty()
print(found)
print(f"noise estimated {found.noise['data']:.4f}, true {noise}")
truth = {"v": true_v, "D": true_D}
for name, deviation in found.standard_errors.items():
    off = abs(solution.parameters[name] - truth[name]) / deviation
    print(f"{name} is {off:.1f} standard errors from the truth")

# %% [markdown]
# ## An unknown function
#
# A coefficient may vary: `pinns.Unknown(1.0, axes="x")` is a function of $x$, by
# default a polynomial of degree 7. `pinns.problems.unknown_diffusion(
# coefficient="function")` and `pinns.problems.unknown_source()` are worked examples.
# What was found is called like the solution, with coordinates of its own axes:
# `solution.parameters["k"](x)`.
