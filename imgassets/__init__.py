"""From raw image and CT archives to training-ready files: what a training script imports."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from imgassets.stores import Store, collate, open_store
from imgassets.stores.convert import convert

if TYPE_CHECKING:
    import dagster as dg

__all__ = ["Store", "collate", "convert", "open_store", "project", "resources"]


def project(path: str | os.PathLike[str]) -> dg.Definitions:
    """All datasets of the project that a file or folder lies in, with the resources they need, for Dagster.

    Raises:
        BadInput: it lies in no project, or a dataset is declared wrongly.

    Example:
        >>> # my_datasets/definitions.py
        >>> @dg.definitions
        ... def defs():
        ...     return imgassets.project(__file__)
    """
    from imgassets.definitions import project as load  # `open_store` needs no Dagster

    return load(path)


def resources() -> dict[str, Any]:
    """What our components need, by key, for Definitions of somebody else's that hold assets of such components.

    A component brings them along, so that they are only needed where something else is to use them, too.

    Raises:
        BadInput: there is no home (`DAGSTER_HOME`), or a setting is no folder's path.
    """
    from imgassets.io.resources import resources as found

    return found()


if not TYPE_CHECKING:  # a type checker is to miss the moved names

    def __getattr__(name: str) -> object:
        """The conversion-library guide's names, which stood here before `imgassets.compat` had them."""
        import warnings
        from importlib.util import find_spec

        if find_spec(f"{__name__}.{name}"):  # the import system asks here first for a module it has not loaded yet
            raise AttributeError(name)
        from imgassets import compat

        if name not in compat.__all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        warnings.warn(
            f"import {name} from imgassets.compat: imgassets loses it soon.", DeprecationWarning, stacklevel=2
        )
        return getattr(compat, name)
