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
# # A decaying flow: three unknowns, three equations
#
# A viscous fluid in a periodic box starts from a checkerboard of vortices and comes to
# rest. With velocity $(u, v)$ and vorticity $w$ the incompressible Navier-Stokes
# equations are
#
# $$w_t + u\, w_x + v\, w_y = \nu\, (w_{xx} + w_{yy}), \qquad
#   v_x - u_y = w, \qquad u_x + v_y = 0.$$
#
# There is a formula for this flow (Taylor and Green, 1937), which we use to check the
# answer, and two laws that hold for any such flow: no fluid appears or vanishes,
# and the kinetic energy decays at the rate that viscosity prescribes.

# %%
import os

import jax
import jax.numpy as jnp
import numpy as np

import pinns


# The test suite runs this notebook with fewer steps.
steps = 20 if os.environ.get("SEPARAX_QUICK") else 1500
nu = 0.1

# %% [markdown]
# ## State it
#
# The residual receives one field per unknown and returns one value per equation.
# Products of unknowns, `u * w.d("x")`, are written as they stand.

# %%
side = (0.0, 2.0 * np.pi)
box = pinns.Box(t=(0.0, 1.0), x=side, y=side)


def flow(u, v, w):
    transport = w.d("t") + u * w.d("x") + v * w.d("y")
    return (
        transport - nu * w.laplacian(),
        v.d("x") - u.d("y") - w,
        u.d("x") + v.d("y"),
    )


def velocity_u(t, x, y):
    return jnp.exp(-2 * nu * t) * jnp.cos(x) * jnp.sin(y)


def velocity_v(t, x, y):
    return -jnp.exp(-2 * nu * t) * jnp.sin(x) * jnp.cos(y)


def vorticity(t, x, y):
    return -2 * jnp.exp(-2 * nu * t) * jnp.cos(x) * jnp.cos(y)


exact = {"u": velocity_u, "v": velocity_v, "w": vorticity}
conditions = [pinns.Periodic(("x", "y"), unknown=name) for name in exact]
conditions += [pinns.Initial("t", f, unknown=name) for name, f in exact.items()]
problem = pinns.Problem(
    box, flow, conditions, unknowns=("u", "v", "w"), equations=3, exact=exact
)
problem

# %% [markdown]
# ## Solve it
#
# Each unknown is a sum of a few products of networks of one coordinate. The products of
# two unknowns have the products of the ranks, still small, so the loss is computed from
# one-dimensional inner products and no grid is formed.

# %%
solution = pinns.solve(
    problem,
    pinns.CP(rank=3, network="siren", omega=4.0, hidden=(16,)),
    points={"t": 12, "x": 24, "y": 24},
    steps=steps,
    key=jax.random.key(0),
    progress=False,
)
print(solution.settings["method"], solution.result, solution.settings["loss"])
errors = solution.relative_l2(25)
for name, error in errors.items():
    print(f"relative L2 error of {name}: {error:.1e}")

# %% [markdown]
# ## Check it
#
# The divergence at points that training never saw, and the kinetic energy, which should
# fall as $e^{-4 \nu t}$.

# %%
points = np.random.default_rng(0).uniform(size=(500, 3)) * [1.0, *[2 * np.pi] * 2]
divergence = solution["u"].d("x").at(points) + solution["v"].d("y").at(points)
print(f"largest divergence at unseen points: {float(np.abs(divergence).max()):.1e}")

t = np.linspace(0.0, 1.0, 5)
x = np.linspace(0.0, 2 * np.pi, 40, endpoint=False)
values = solution(t, x, x)
energy = np.mean(np.asarray(values["u"]) ** 2 + np.asarray(values["v"]) ** 2, (1, 2))
print("energy     ", *(f"{e:.4f}" for e in energy))
print("should be  ", *(f"{e:.4f}" for e in 0.5 * np.exp(-4 * nu * t)))

# %% [markdown]
# ## Look at it

# %%
solution.plot(unknown="w", points={"t": 3, "x": 60, "y": 60}, at={"t": (0.0, 1.0)})

# %% [markdown]
# For long times, or flows that change more, `pinns.march` solves one window in time
# after the other from the end of the one before; `weighting="causal"` is for networks
# that are trained by Adam over the whole interval.
