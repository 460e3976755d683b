"""Packages that one feature alone uses: they are installed as extras, `pip install 'imgassets[network]'`."""

from functools import cache
from importlib import import_module
from types import ModuleType

from imgassets.errors import BadInput

EXTRAS = {
    "google_crc32c": "tfrecords",
    "safetensors.numpy": "network",
    "safetensors.torch": "network",
    "umap": "network",
}
"""Extra by module; `pyproject.toml` says which package it comes with."""


@cache
def extra(module: str) -> ModuleType:
    """A module of an extra.

    Raises:
        BadInput: it is not installed; says what to install.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in {module, module.split(".")[0]}:
            raise
        raise BadInput(
            f"{module.split('.')[0]} is not installed, which this needs: pip install 'imgassets[{EXTRAS[module]}]'."
        ) from error
