"""The one entry point: every dataset of a project, and the resources its assets use."""

import os
import sys
import warnings
from importlib import import_module
from pathlib import Path

import dagster as dg
from pydantic.warnings import PydanticDeprecatedSince20

# backfill policies, partitioned checks and components are used knowingly
for _category in (dg.BetaWarning, dg.PreviewWarning):
    warnings.filterwarnings("ignore", category=_category)

from imgassets.components.declarations import refuse_mistakes  # noqa: E402
from imgassets.errors import BadInput  # noqa: E402
from imgassets.io.resources import resources  # noqa: E402
from imgassets.projects import Project  # noqa: E402


@dg.definitions
def defs() -> dg.Definitions:
    """The bundled datasets."""
    return project(__file__)


def project(path: str | os.PathLike[str]) -> dg.Definitions:
    """All datasets under `defs/` of the project that a file or folder lies in.

    Raises:
        BadInput: it lies in no project, or a dataset is declared wrongly.
    """
    found = Project.of(Path(path))
    if found is None:
        raise BadInput(f"{path} lies in no project: `imgassets init` makes one, a folder with [tool.imgassets].")
    if str(found.root) not in sys.path:
        sys.path.insert(0, str(found.root))
    # Dagster itself would add an IO manager that pickles to disk
    own = {**resources(found), "io_manager": dg.mem_io_manager}
    datasets = import_module(f"{found.package}.defs")
    folders = list(map(Path, datasets.__path__))
    for folder in folders:
        refuse_mistakes(folder)
    everything = dg.Definitions(resources=own, executor=dg.in_process_executor)
    if not any(path.suffix in {".py", ".yaml", ".yml"} for folder in folders for path in folder.glob("*/**/*")):
        return everything  # a new project; Dagster stumbles over a tree without a leaf
    # not `load_from_defs_folder`, which wants a pyproject.toml that an installed package has not
    tree = dg.ComponentTree.from_module(defs_module=datasets, project_root=found.root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PydanticDeprecatedSince20)  # as Dagster does where it makes the tree itself
        declared = tree.build_defs()
    return dg.Definitions.merge(declared, everything)
