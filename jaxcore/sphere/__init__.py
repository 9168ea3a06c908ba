"""Functions on the sphere: harmonics, transforms, rotations and products.

A function is held as its coefficients in real orthonormal spherical harmonics, packed
in the last axis: `(l, m)` at `l*l + l + m`, `(L+1)^2` numbers for degrees up to L, in
the order and with the signs of e3nn (polar axis `y`; degree one is `(x, y, z)`).

* `real_harmonics`: values at directions, to degree 50 and beyond in float32;
* `gauss_legendre_grid`, `to_grid`, `from_grid`: values on grids, and back;
* `to_fourier`, `from_fourier`: Fourier series on the torus, and back;
* `wigner_d`, `rotate`: rotations;
* `gaunt_product`, `gaunt_power`, `gaunt_convolution`, `vector_gaunt_product`;
* `cg_product`, `clebsch_gordan`, `gaunt_coefficients`, ...: references, exact.

All functions take any leading axes, work under `jit`, `vmap`, `grad` and `jvp`, in
float32 and float64; degrees are static.
"""

from jaxcore.sphere.cg import cg_product as cg_product
from jaxcore.sphere.coefficients import clebsch_gordan as clebsch_gordan
from jaxcore.sphere.coefficients import gaunt_coefficients as gaunt_coefficients
from jaxcore.sphere.coefficients import gaunt_scales as gaunt_scales
from jaxcore.sphere.coefficients import vector_gaunt_scales as vector_gaunt_scales
from jaxcore.sphere.coefficients import wigner_3j_squared as wigner_3j_squared
from jaxcore.sphere.convolution import gaunt_convolution as gaunt_convolution
from jaxcore.sphere.fourier import from_fourier as from_fourier
from jaxcore.sphere.fourier import to_fourier as to_fourier
from jaxcore.sphere.gaunt import gaunt_product as gaunt_product
from jaxcore.sphere.grids import SphereGrid as SphereGrid
from jaxcore.sphere.grids import from_grid as from_grid
from jaxcore.sphere.grids import gauss_legendre_grid as gauss_legendre_grid
from jaxcore.sphere.grids import to_grid as to_grid
from jaxcore.sphere.harmonics import real_harmonics as real_harmonics
from jaxcore.sphere.power import gaunt_power as gaunt_power
from jaxcore.sphere.rotations import rotate as rotate
from jaxcore.sphere.rotations import wigner_d as wigner_d
from jaxcore.sphere.vector import vector_gaunt_product as vector_gaunt_product


__all__ = [
    "real_harmonics",
    "SphereGrid",
    "gauss_legendre_grid",
    "to_grid",
    "from_grid",
    "to_fourier",
    "from_fourier",
    "wigner_d",
    "rotate",
    "gaunt_product",
    "gaunt_power",
    "gaunt_convolution",
    "vector_gaunt_product",
    "cg_product",
    "clebsch_gordan",
    "gaunt_coefficients",
    "gaunt_scales",
    "vector_gaunt_scales",
    "wigner_3j_squared",
]
