"""The PostgreSQL home, on a real server that the test starts on loopback: what SQLite records, it records too."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from imgassets.operations.launcher import HOST_TAG, LocalRunLauncher
from imgassets.sample_data import imagenet64
from tests.e2e.dagster_processes import CHECKOUT, environment_of

pytestmark = pytest.mark.slow


def program(name: str) -> str | None:
    """Debian keeps the server's programs out of the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    initdb, control = program("initdb"), program("pg_ctl")
    if initdb is None or control is None:
        pytest.skip("postgresql is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # the server refuses to run as root, and the postgres user cannot enter root's folders
    user = "postgres" if os.getuid() == 0 else None
    folder = Path(f"/tmp/imgassets-postgres-{port}")  # noqa: S108
    folder.mkdir(mode=0o700)
    if user:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    data = folder / "data"

    def run(*command: str) -> None:
        subprocess.run(command, user=user, check=True, cwd=folder, capture_output=True, timeout=120)

    try:
        run(initdb, "-D", str(data), "-U", "dagster", "-A", "trust", "--no-sync")
        options = f"-p {port} -h 127.0.0.1 -k {folder} -F"
        run(control, "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg2://dagster@127.0.0.1:{port}/postgres"
        finally:
            run(control, "-D", str(data), "-w", "-m", "fast", "stop")
    finally:
        shutil.rmtree(folder)


def test_records_runs_partitions_and_failures(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, home = tmp_path / "raw", tmp_path / "home"
    imagenet64.write(raw)
    home.mkdir()
    shutil.copy(CHECKOUT / "dagster_home" / "postgres" / "dagster.yaml", home)
    os.truncate(raw / "imagenet64" / "val_data.npz", 5000)
    environment = environment_of(home, raw) | {"IMGASSETS_PG_URL": url}
    script = "from imgassets.cli import main; main()"

    def imgassets(*arguments: str) -> int:
        command = [sys.executable, "-c", script, *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, timeout=240).returncode

    assert imgassets("backfill", "imagenet64/npz_index") == 1
    assert (
        imgassets(
            "backfill", "imagenet64/arrays", "--missing", "--partitions", "train_data_batch_1..train_data_batch_3"
        )
        == 0
    )
    monkeypatch.setenv("IMGASSETS_PG_URL", url)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert type(instance.event_log_storage).__name__ == "PostgresEventLogStorage"
        made = instance.get_materialized_partitions(dg.AssetKey(["imagenet64", "npz_index"]))
        assert made == {f"train_data_batch_{number}" for number in range(1, 11)}
        assert len(instance.get_materialized_partitions(dg.AssetKey(["imagenet64", "arrays"]))) == 3
        assert all(run.tags[HOST_TAG] == socket.gethostname() for run in instance.get_runs())
        assert isinstance(instance.run_launcher, LocalRunLauncher)
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS}
    assert not list(home.rglob("*.db"))  # nothing is kept in SQLite beside it
    assert imgassets("status", "imagenet64/npz_index") == 1
