"""What other processes make partitions with: the graph anew, and from it what an asset returns."""

import atexit
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg

from imgassets.errors import BadInput
from imgassets.io import dagster_private
from imgassets.io.artifacts import Artifacts
from imgassets.io.base import for_elsewhere
from imgassets.planning.graph import Asset, Graph
from imgassets.projects import BUNDLED, Project

_open = ExitStack()
atexit.register(_open.close)  # not when modules are gone


def maker(document: Mapping[str, Any], say: Callable[[str], object]) -> Callable[[str, bool], str]:
    """What makes a partition of an asset as a run in another process would, which has written `document`.

    Raises:
        BadInput: the project's definitions have no such asset, or keep it elsewhere.
    """
    graph = _graph(document["storage"]["project"], json.dumps(document["resources"], sort_keys=True))
    asset = _asset(graph, dg.AssetKey(document["asset"]), document["storage"])
    inputs = {
        name: Artifacts(keys, graph.assets[asset.upstream[name]].artifact) for name, keys in document["inputs"].items()
    }
    builds = asset.builds(graph.resources, inputs, document["config"], say)

    def make(key: str, wait: bool) -> str:
        return for_elsewhere(asset.io_manager.make(asset.key, key, builds, asset.code_version, say, wait=wait))

    return make


def _asset(graph: Graph, key: dg.AssetKey, storage: Mapping[str, str]) -> Asset:
    asset = graph.assets.get(key)
    if asset is None or asset.io_manager.storage.model_dump(mode="json") != storage:
        raise BadInput(
            f"{key.to_user_string()} is not among the definitions of the project {storage['project']}, or is kept "
            "elsewhere by them; other processes know those alone: make it with IMGASSETS_ENGINE=local."
        )
    return asset


@cache
def _graph(root: str, config: str) -> Graph:
    project = Project.of(Path(root)) or BUNDLED
    if str(project.root) not in sys.path:
        sys.path.insert(0, str(project.root))
    loaded: dg.Definitions = import_module(f"{project.package}.definitions").defs()
    resources: dict[str, Any] = dict(loaded.resources or {})
    ready = _open.enter_context(dg.build_resources(resources, resource_config=json.loads(config)))
    repository = dagster_private.repository_of(loaded)
    return Graph.of(repository, {name: getattr(ready, name) for name in resources})
