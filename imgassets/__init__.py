"""From raw image and CT archives to training-ready files: what a training script imports."""

from typing import TYPE_CHECKING

from imgassets.stores import Store, collate, open_store
from imgassets.stores.convert import convert

__all__ = ["Store", "collate", "convert", "open_store"]

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
