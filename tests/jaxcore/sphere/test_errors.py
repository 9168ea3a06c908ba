"""Every function refuses what does not fit, in words that say what was given."""

# ruff: noqa: E501

import re

import jax.numpy as jnp
import pytest

from jaxcore import sphere


X = jnp.ones(9)
V = jnp.ones(3)
R = jnp.eye(3)
I = jnp.ones(9, jnp.int32)
F = jnp.ones((5, 5), jnp.complex64)
SIZE = "must have a last axis of size 9 for degree 2, got shape (8,)"
DTYPE = "must be of a float dtype, got int32"
LEADING = "must broadcast, got shapes (2, 9) and (3, 9)"
DEGREE = "must be an integer of at least 0, got -1"

CASES = [
    ("real_harmonics", (jnp.ones(4), 2), {}, "`vectors` must have a last axis of size 3, got shape (4,)"),
    ("real_harmonics", (jnp.ones(()), 2), {}, "`vectors` must have a last axis of size 3, got shape ()"),
    ("real_harmonics", (V, -1), {}, f"`degree` {DEGREE}"),
    ("real_harmonics", (V, 1.5), {}, "`degree` must be an integer of at least 0, got 1.5"),
    ("real_harmonics", (V, True), {}, "`degree` must be an integer of at least 0, got True"),
    ("real_harmonics", (jnp.ones(3, jnp.int32), 2), {}, f"`vectors` {DTYPE}"),
    ("gauss_legendre_grid", (-1,), {}, f"`degree` {DEGREE}"),
    ("to_grid", (X[:8], 2), {}, f"`x` {SIZE}"),
    ("to_grid", (I, 2), {}, f"`x` {DTYPE}"),
    ("to_grid", (X, 2), {"num_theta": 0}, "`num_theta` must be an integer of at least 1, got 0"),
    ("to_grid", (X, 2), {"num_phi": 2.0}, "`num_phi` must be an integer of at least 1, got 2.0"),
    ("to_grid", (X, 2), {"method": "fft"}, '`method` must be one of "auto", "matmul", "separable", got \'fft\''),
    ("to_grid", (X, -1), {}, f"`degree` {DEGREE}"),
    ("from_grid", (jnp.ones((2, 5)), 2), {}, "`values` must have at least 3 x 5 points in the last two axes for degree 2, got shape (2, 5)"),
    ("from_grid", (jnp.ones((3, 4)), 2), {}, "`values` must have at least 3 x 5 points in the last two axes for degree 2, got shape (3, 4)"),
    ("from_grid", (jnp.ones(5), 2), {}, "`values` must have at least 3 x 5 points in the last two axes for degree 2, got shape (5,)"),
    ("from_grid", (jnp.ones((3, 5), jnp.int32), 2), {}, f"`values` {DTYPE}"),
    ("from_grid", (jnp.ones((3, 5)), 2), {"method": "x"}, "`method` must be one of"),
    ("from_grid", (jnp.ones((3, 5)), -1), {}, f"`degree` {DEGREE}"),
    ("to_fourier", (X[:8], 2), {}, f"`x` {SIZE}"),
    ("to_fourier", (X, -1), {}, f"`degree` {DEGREE}"),
    ("from_fourier", (F.real, 2), {}, "`series` must be of a complex dtype, got float32"),
    ("from_fourier", (F[:4], 2), {}, "`series` must have two last axes of the same odd size, got shape (4, 5)"),
    ("from_fourier", (F[:4, :4], 2), {}, "`series` must have two last axes of the same odd size, got shape (4, 4)"),
    ("from_fourier", (F[0], 2), {}, "`series` must have two last axes of the same odd size, got shape (5,)"),
    ("from_fourier", (F, -1), {}, f"`degree` {DEGREE}"),
    ("wigner_d", (jnp.ones((3, 2)), 1), {}, "`rotation` must have last axes of size 3 and 3, got shape (3, 2)"),
    ("wigner_d", (jnp.eye(3, dtype=int), 1), {}, f"`rotation` {DTYPE}"),
    ("wigner_d", (R, -1), {}, f"`degree` {DEGREE}"),
    ("rotate", (X[:8], R, 2), {}, f"`x` {SIZE}"),
    ("rotate", (X, V, 2), {}, "`rotation` must have last axes of size 3 and 3, got shape (3,)"),
    ("rotate", (X, R, -1), {}, f"`degree` {DEGREE}"),
    ("rotate", (jnp.ones((2, 9)), jnp.ones((3, 3, 3)), 2), {}, "the leading axes of `x` and `rotation` must broadcast, got shapes (2, 9) and (3, 3)"),
    ("gaunt_product", (X[:8], X, 2, 2, 2), {}, f"`x` {SIZE}"),
    ("gaunt_product", (X, X[:8], 2, 2, 2), {}, f"`y` {SIZE}"),
    ("gaunt_product", (X, X, -1, 2, 2), {}, f"`degree_x` {DEGREE}"),
    ("gaunt_product", (X, X, 2, -1, 2), {}, f"`degree_y` {DEGREE}"),
    ("gaunt_product", (X, X, 2, 2, -1), {}, f"`degree_out` {DEGREE}"),
    ("gaunt_product", (I, X, 2, 2, 2), {}, f"`x` {DTYPE}"),
    ("gaunt_product", (X, X + 1j, 2, 2, 2), {}, "`y` must be of a float dtype, got complex64"),
    ("gaunt_product", (jnp.ones((2, 9)), jnp.ones((3, 9)), 2, 2, 2), {}, f"the leading axes of `x` and `y` {LEADING}"),
    ("gaunt_product", (X, X, 2, 2, 2), {"method": "fast"}, '`method` must be one of "auto", "dense", "grid", "fourier", got \'fast\''),
    ("gaunt_product", (X, X, 2, 2, 2), {"weights_x": V[:2]}, "`weights_x` must have a last axis of size 3, one weight per degree, got shape (2,)"),
    ("gaunt_product", (X, X, 2, 2, 2), {"weights_y": jnp.ones(())}, "`weights_y` must have a last axis of size 3, one weight per degree, got shape ()"),
    ("gaunt_product", (X, X, 2, 2, 2), {"weights_out": jnp.ones(3, int)}, f"`weights_out` {DTYPE}"),
    ("gaunt_product", (jnp.ones((2, 9)), X, 2, 2, 2), {"weights_x": jnp.ones((4, 3))}, "the leading axes of `x` and `weights_x` must broadcast, got shapes (2, 9) and (4, 3)"),
    ("gaunt_power", (X[:8], 2, 2, 2), {}, f"`x` {SIZE}"),
    ("gaunt_power", (X, 0, 2, 2), {}, "`nu` must be an integer of at least 1, got 0"),
    ("gaunt_power", (X, 2, -1, 2), {}, f"`degree` {DEGREE}"),
    ("gaunt_power", (X, 2, 2, -1), {}, f"`degree_out` {DEGREE}"),
    ("gaunt_power", (X, 2, 2, 2), {"method": "fft"}, '`method` must be one of "auto", "grid", "divide", got \'fft\''),
    ("gaunt_power", (X, 2, 2, 2), {"weights": V[:1]}, "`weights` must have a last axis of size 3"),
    ("gaunt_convolution", (X[:8], V, 2, 2, 2), {}, f"`x` {SIZE}"),
    ("gaunt_convolution", (X, X, 2, 2, 2), {}, "`vectors` must have a last axis of size 3, got shape (9,)"),
    ("gaunt_convolution", (X, V, -1, 2, 2), {}, f"`degree_x` {DEGREE}"),
    ("gaunt_convolution", (X, V, 2, -1, 2), {}, f"`degree_filter` {DEGREE}"),
    ("gaunt_convolution", (X, V, 2, 2, -1), {}, f"`degree_out` {DEGREE}"),
    ("gaunt_convolution", (X, V, 2, 2, 2), {"method": "dense"}, '`method` must be one of "auto", "aligned", "grid", got \'dense\''),
    ("gaunt_convolution", (X, V, 2, 1, 2), {"weights": V}, "`weights` must have a last axis of size 2"),
    ("gaunt_convolution", (X, V, 2, 1, 2), {"weights": V, "method": "aligned"}, "`weights` must have a last axis of size 2"),
    ("gaunt_convolution", (jnp.ones((2, 9)), jnp.ones((3, 3)), 2, 2, 2), {}, "the leading axes of `x` and `vectors` must broadcast, got shapes (2, 9) and (3, 3)"),
    ("gaunt_convolution", (jnp.ones((2, 9)), V, 2, 2, 2), {"weights": jnp.ones((3, 3))}, "the leading axes of `x` and `weights` must broadcast"),
    ("gaunt_convolution", (jnp.ones((2, 9)), V, 2, 2, 2), {"weights": jnp.ones((3, 3)), "method": "aligned"}, "the leading axes of `x` and `weights` must broadcast"),
    ("vector_gaunt_product", (X[:8], X, 2, 2, 2), {}, f"`x` {SIZE}"),
    ("vector_gaunt_product", (X, X[:8], 2, 2, 2), {}, f"`y` {SIZE}"),
    ("vector_gaunt_product", (X, I, 2, 2, 2), {}, f"`y` {DTYPE}"),
    ("vector_gaunt_product", (X, X, 2, 2, -1), {}, f"`degree_out` {DEGREE}"),
    ("vector_gaunt_product", (jnp.ones((2, 9)), jnp.ones((3, 9)), 2, 2, 2), {}, f"the leading axes of `x` and `y` {LEADING}"),
    ("cg_product", (X[:8], X, 2, 2, 2), {}, f"`x` {SIZE}"),
    ("cg_product", (X, X[:8], 2, 2, 2), {}, f"`y` {SIZE}"),
    ("cg_product", (X, X, 2, 2, -1), {}, f"`degree_out` {DEGREE}"),
    ("cg_product", (X, X, 2, 2, 1), {"weights": jnp.ones((3, 3, 3))}, "`weights` must have shape (3, 3, 2), got (3, 3, 3)"),
    ("cg_product", (jnp.ones((2, 9)), jnp.ones((3, 9)), 2, 2, 2), {}, f"the leading axes of `x` and `y` {LEADING}"),
    ("clebsch_gordan", (1, -1, 0), {}, f"`l2` {DEGREE}"),
    ("gaunt_coefficients", (1, 1, -1), {}, f"`l3` {DEGREE}"),
    ("gaunt_scales", (-1, 1, 1), {}, f"`degree_x` {DEGREE}"),
    ("vector_gaunt_scales", (1, "2", 1), {}, "`degree_y` must be an integer of at least 0, got '2'"),
    ("wigner_3j_squared", (-1, 1, 1, 0, 0, 0), {}, f"`l1` {DEGREE}"),
    ("wigner_3j_squared", (1, 1, 1, 0, 0.5, 0), {}, "`m2` must be an integer, got 0.5"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "arguments", "options", "message"),
    CASES,
    ids=[f"{case[0]}-{i}" for i, case in enumerate(CASES)],
)
def test_message(name, arguments, options, message):
    expected = TypeError if "dtype" in message else ValueError
    with pytest.raises(expected, match=re.escape(f"jaxcore.sphere.{name}: {message}")):
        getattr(sphere, name)(*arguments, **options)


def test_every_function_is_met():
    met = {case[0] for case in CASES}
    assert met == set(sphere.__all__) - {"SphereGrid"}
