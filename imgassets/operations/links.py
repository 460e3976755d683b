"""The links of a view, with a record of them, so that nothing of anybody else's is replaced or removed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from imgassets import documents
from imgassets.commit import check_name
from imgassets.errors import BadInput

OWN = ".imgassets"
"""Folder of a view for its record, and for what is made for it rather than linked."""


class Links:
    """The links below `folder`, by name; those that earlier views made are known from a record there.

    Raises:
        BadInput: the record is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._record = folder / OWN / "links.json"
        self._targets: dict[str, str] = {}
        try:
            targets = documents.parse(self._record.read_bytes())["links"]
            self._targets = {check_name(name): str(target) for name, target in targets.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError, BadInput) as error:
            raise BadInput(f"{self._record} is damaged ({error}): remove it; its links are then yours.") from error

    def refuse_others(self, wanted: Mapping[str, Path]) -> None:
        """Make sure that nothing lies in the way of `wanted` but links of ours, or such as would be made anyway.

        Raises:
            BadInput: something does; names it.
        """
        for name, target in wanted.items():
            link = self._folder / name
            for parent in link.parents[: name.count("/") + 1]:
                if os.path.lexists(parent) and not parent.is_dir():
                    raise BadInput(f"{parent} is no folder: name another folder for the view, or move it away.")
            found = _target(link)
            if found is not None and found not in (self._targets.get(name), str(target)):
                raise BadInput(f"{link} is a link of yours to {found}: name another folder, or move it away.")
            if found is None and os.path.lexists(link):
                raise BadInput(f"{link} is no link: name another folder, or move it away.")

    def remove_dangling(self) -> None:
        """Remove our links whose file is gone; forget those that somebody removed or changed."""
        for name, target in list(self._targets.items()):
            link = self._folder / name
            if _target(link) == target and link.exists():
                continue
            if _target(link) == target:
                link.unlink()
            del self._targets[name]

    def link(self, name: str, target: Path) -> Path:
        """Let a link lead to `target`, in one step."""
        link, text = self._folder / name, str(target)
        self._targets[name] = text
        if _target(link) != text:
            link.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._folder / OWN / "link"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(target)
            os.replace(fresh, link)
        return link

    def save(self) -> None:
        """Write the record."""
        fresh = self._record.with_suffix(".new")
        fresh.write_text(json.dumps({"links": self._targets}, indent=1, sort_keys=True), encoding="ascii")
        os.replace(fresh, self._record)


def _target(link: Path) -> str | None:
    try:
        return os.readlink(link)
    except OSError:  # nothing, or no link
        return None
