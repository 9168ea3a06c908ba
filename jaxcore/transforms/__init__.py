"""Transforms along axes: arrays in, arrays out."""

from jaxcore.transforms.butterfly import (
    Butterfly,
    butterfly_multiply,
    butterfly_transform,
    dct_butterfly,
    fft_butterfly,
    hadamard_butterfly,
    random_butterfly,
)
from jaxcore.transforms.convolution import (
    causal_convolve,
    circular_convolve,
    convolve,
    gated_convolve,
)
from jaxcore.transforms.dct import (
    dct,
    dctn,
    idct,
    idctn,
)
from jaxcore.transforms.dst import (
    dst,
    dstn,
    idst,
    idstn,
)
from jaxcore.transforms.fourier import (
    monarch_factors,
    monarch_fft,
    monarch_ifft,
    monarch_order,
)
from jaxcore.transforms.frequency_lists import (
    frequency_list,
)
from jaxcore.transforms.frequency_statistics import (
    FrequencyStatistics,
    grouped_frequency_coefficients,
    multi_frequency_statistics,
)
from jaxcore.transforms.hadamard import (
    hadamard_transform,
    sequency_order,
)
from jaxcore.transforms.lifting import (
    Lifting,
    dwt,
    idwt,
    wavedec,
    waverec,
)
from jaxcore.transforms.pooling import (
    adaptive_average_pool,
)
from jaxcore.transforms.sparse_convolution import (
    kernel_spectrum,
    sparse_convolve,
)


__all__ = [
    "dct",
    "dctn",
    "idct",
    "idctn",
    "dst",
    "dstn",
    "idst",
    "idstn",
    "monarch_factors",
    "monarch_fft",
    "monarch_ifft",
    "monarch_order",
    "causal_convolve",
    "circular_convolve",
    "convolve",
    "gated_convolve",
    "kernel_spectrum",
    "sparse_convolve",
    "hadamard_transform",
    "sequency_order",
    "Lifting",
    "dwt",
    "idwt",
    "wavedec",
    "waverec",
    "Butterfly",
    "butterfly_multiply",
    "butterfly_transform",
    "dct_butterfly",
    "fft_butterfly",
    "hadamard_butterfly",
    "random_butterfly",
    "FrequencyStatistics",
    "grouped_frequency_coefficients",
    "multi_frequency_statistics",
    "frequency_list",
    "adaptive_average_pool",
]
