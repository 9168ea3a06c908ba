"""Steps of a solver in a scan of one's own."""

import jax
from jax import lax

from pinns.solvers.first_order import advance


def advanced(solver, state, prepared, steps):
    """Returns the state after so many steps, and the rows of all of them."""

    def step(state, _):
        return advance(solver, state, prepared)

    return jax.jit(lambda state: lax.scan(step, state, length=steps))(state)
