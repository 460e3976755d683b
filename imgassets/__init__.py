"""From raw image and CT archives to training-ready files: what a training script imports."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dagster as dg

    from imgassets.stores import Store, collate, open_store
    from imgassets.stores.convert import convert

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
        """What needs NumPy, once it is asked for; and the names of the conversion-library guide, which stood here
        before `imgassets.compat` had them.
        """
        import warnings
        from importlib import import_module
        from importlib.util import find_spec

        if name in __all__:
            found = import_module("imgassets.stores.convert" if name == "convert" else "imgassets.stores")
            return globals().setdefault(name, getattr(found, name))
        if find_spec(f"{__name__}.{name}"):  # `import imgassets` brought all rooms of a training script along
            return import_module(f"{__name__}.{name}")
        from imgassets import compat

        if name not in compat.__all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        warnings.warn(
            f"import {name} from imgassets.compat: imgassets loses it soon.", DeprecationWarning, stacklevel=2
        )
        return getattr(compat, name)
