"""Transforms along axes: arrays in, arrays out."""

from jaxcore.transforms.butterfly import Butterfly as Butterfly
from jaxcore.transforms.butterfly import butterfly_multiply as butterfly_multiply
from jaxcore.transforms.butterfly import butterfly_transform as butterfly_transform
from jaxcore.transforms.butterfly import dct_butterfly as dct_butterfly
from jaxcore.transforms.butterfly import fft_butterfly as fft_butterfly
from jaxcore.transforms.butterfly import hadamard_butterfly as hadamard_butterfly
from jaxcore.transforms.butterfly import random_butterfly as random_butterfly
from jaxcore.transforms.convolution import causal_convolve as causal_convolve
from jaxcore.transforms.convolution import circular_convolve as circular_convolve
from jaxcore.transforms.convolution import convolve as convolve
from jaxcore.transforms.convolution import gated_convolve as gated_convolve
from jaxcore.transforms.fourier import monarch_factors as monarch_factors
from jaxcore.transforms.fourier import monarch_fft as monarch_fft
from jaxcore.transforms.fourier import monarch_ifft as monarch_ifft
from jaxcore.transforms.fourier import monarch_order as monarch_order
from jaxcore.transforms.hadamard import hadamard_transform as hadamard_transform
from jaxcore.transforms.hadamard import sequency_order as sequency_order
from jaxcore.transforms.lifting import Lifting as Lifting
from jaxcore.transforms.lifting import dwt as dwt
from jaxcore.transforms.lifting import idwt as idwt
from jaxcore.transforms.lifting import wavedec as wavedec
from jaxcore.transforms.lifting import waverec as waverec
from jaxcore.transforms.sparse_convolution import kernel_spectrum as kernel_spectrum
from jaxcore.transforms.sparse_convolution import sparse_convolve as sparse_convolve
