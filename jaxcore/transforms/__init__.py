"""Transforms of arrays along their axes."""

from jaxcore.transforms.dct import dct, dctn, idct, idctn
from jaxcore.transforms.dst import dst, dstn, idst, idstn


__all__ = [
    "dct",
    "idct",
    "dctn",
    "idctn",
    "dst",
    "idst",
    "dstn",
    "idstn",
]
