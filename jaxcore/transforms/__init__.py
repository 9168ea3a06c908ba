"""Transforms of arrays along their axes."""

from jaxcore.transforms.dct import dct, dctn, idct, idctn
from jaxcore.transforms.dst import dst, dstn, idst, idstn
from jaxcore.transforms.frequency_lists import frequency_list
from jaxcore.transforms.frequency_statistics import (
    FrequencyStatistics,
    grouped_frequency_coefficients,
    multi_frequency_statistics,
)


__all__ = [
    "dct",
    "idct",
    "dctn",
    "idctn",
    "dst",
    "idst",
    "dstn",
    "idstn",
    "FrequencyStatistics",
    "multi_frequency_statistics",
    "grouped_frequency_coefficients",
    "frequency_list",
]
