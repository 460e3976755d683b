"""Files of this machine as memory, given back when nobody uses it; one that is cut meanwhile is an error, no signal."""

from imgassets.mapping.ahead import read_ahead
from imgassets.mapping.files import Mapped

__all__ = ["Mapped", "read_ahead"]
