"""Contraction, inner products, norms and rounding of factored tensors.

A function on a tensor grid of `d` axes is held as one small array per axis instead of
`n_1 * ... * n_d` values. The three modules offer the same operations under the same
names (`to_dense`, `at_points`, `inner`, `norm_squared`, `add`, `scale`):

* `cp`: sums of products, one factor `(n_i, R)` per axis;
* `tensor_train`: chains of cores `(r_{i-1}, n_i, r_i)` with `r_0 = r_d = 1`;
* `tucker`: a small core `(R_1, ..., R_d)` and one factor `(n_i, R_i)` per axis.

All functions are pure, work under `jit`, `vmap` and `grad` and keep the dtype of their
arguments. Products ask for full precision (`jax.lax.Precision.HIGHEST`), because the
reduced precision that accelerators choose by default is a thousand times coarser than
float32.
"""

from jaxcore.tensor import cp as cp
from jaxcore.tensor import tensor_train as tensor_train
from jaxcore.tensor import tucker as tucker
from jaxcore.tensor.cp import cp_to_tt as cp_to_tt
from jaxcore.tensor.cp import cp_to_tucker as cp_to_tucker


__all__ = ["cp", "tensor_train", "tucker", "cp_to_tt", "cp_to_tucker"]
