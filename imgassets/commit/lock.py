"""One writer to one artifact. The kernel holds the lock and drops it when its owner is dead, never before.

The lock is a file in the vault itself, so that all who write there meet, from whatever host, user, home or mount point.
Its holder removes it while holding it; whoever got hold of a file that is not there any more tries again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pwd
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import xxhash

from imgassets.commit.durable import RACES, make_folders
from imgassets.commit.own import OWN, own_folder, share
from imgassets.commit.stage import Location
from imgassets.errors import StoreError, Taken

PATIENCE = 20
"""Times to try, 10 ms apart, where whoever is in the way has no name yet, or is just done."""
SURE = 3
"""Times to find the lock held by somebody who has a name."""
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What a file system without locks answers."""
FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


def file_of(location: Location) -> Path:
    """The lock's file. Its name comes of the path below the root alone: the root may be mounted in several places."""
    name = os.fsencode(location.path.relative_to(location.root))
    return location.root / OWN / "locks" / f"{xxhash.xxh3_128_hexdigest(name)}.lock"


class Exclusive:
    """The only right to write the artifact at `location`, held within `with`.

    `flock` ends with the last process that holds it, so a writer that was killed leaves nothing to wait for
    and a writer that hangs cannot be robbed. Processes it forked hold it too, for they may be writing still.

    Raises:
        Taken: somebody else is writing it; names the owner.
        StoreError: there are no locks here, or none for this user.
        OSError: the lock's file cannot be made.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._path = file_of(location)
        self._fd: int | None = None

    def __enter__(self) -> None:
        try:
            self._acquire()
        except BaseException:  # an interrupt may come at any moment
            _sweep(self._path)
            self.release()
            raise

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let go of what is held, if anything is.

        An interrupt may come when `with` is about to do so, or while it does: whoever is interrupted says it again.
        """
        if self._fd is not None:
            _unlink(self._fd, self._path)
            self._close()
        for folder in (self._path.parent, self._path.parent.parent):
            with suppress(OSError):  # one that holds anything stays
                folder.rmdir()

    def _acquire(self) -> None:
        for attempt in range(1, PATIENCE + 1):
            owner, denied = None, None
            try:
                self._fd = fd = _open(self._location.root, self._path)
            except PermissionError as error:  # who was first in it has yet to let others in
                denied = error
            else:
                if _flock(fd, self._location) and _is(fd, self._path):
                    return _sign(fd)
                owner = _owner(fd)
                self._close()
                if owner and attempt >= SURE:
                    raise _taken(self._location, owner)
            time.sleep(0.01)
        raise _denied(self._location, self._path, denied) if denied else _taken(self._location, owner)

    def _close(self) -> None:
        fd, self._fd = self._fd, None  # never twice: the number may be another file's by then
        if fd is not None:
            with suppress(OSError):  # the lock goes with the process at the latest
                os.close(fd)


def held(location: Location) -> bool:
    """Whether somebody is writing the artifact at `location`, as far as a look can tell that changes nothing."""
    try:
        fd = os.open(file_of(location), os.O_RDONLY | FLAGS)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _open(root: Path, path: Path) -> int:
    make_folders(root)
    for left in range(RACES, -1, -1):
        try:
            own_folder(root, path.parent.name)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | FLAGS, 0o644)
            break
        except FileNotFoundError:  # who was last in the folder has just removed it
            if not left:
                raise
    try:
        share(fd, root)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _flock(fd: int, location: Location) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise StoreError(
            f"{location.path} cannot be locked: the file system of {location.root} has no locks ({error.strerror}); "
            "mount it with them (NFS 4, or NFS 3 with lockd; Lustre with `-o flock`), or write to another one."
        ) from error
    return True


def _is(fd: int, path: Path) -> bool:
    """Whether the file that was opened is the one of that name."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _sign(fd: int) -> None:
    """Say who holds the lock, in the place of one that was killed."""
    me = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    os.ftruncate(fd, 0)
    os.write(fd, json.dumps(me).encode())


def _unlink(fd: int, path: Path) -> None:
    """Remove a lock that is held or that nobody holds."""
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is(fd, path):
            os.unlink(path)


def _sweep(path: Path) -> None:
    with suppress(OSError):
        fd = os.open(path, os.O_RDWR | FLAGS)
        try:
            _unlink(fd, path)
        finally:
            os.close(fd)


def _owner(fd: int) -> tuple[int, str, str] | None:
    with suppress(ValueError, KeyError, TypeError, OverflowError, RecursionError, OSError):  # what a crash left of it
        owner = json.loads(os.pread(fd, 4096, 0))
        return int(owner["pid"]), str(owner["host"]), str(owner["since"])
    return None


def _taken(location: Location, owner: tuple[int, str, str] | None) -> Taken:
    who = "process {} on {} since {}".format(*owner) if owner else "another process"
    message = f"{location.path} is being written by {who}; wait for that run, or stop it, and run again."
    return Taken(message, *owner or ())


def _denied(location: Location, file: Path, error: PermissionError) -> StoreError:
    places = [location.root, file.parent.parent, file.parent, file]
    closed = next((place for place in places if not os.access(place, os.W_OK)), file)
    owner = "its owner"
    with suppress(OSError, KeyError):
        owner = f"its owner {pwd.getpwuid(closed.stat().st_uid).pw_name}"
    return StoreError(
        f"{location.path} cannot be locked, for {closed} does not let this user write ({error.strerror}); "
        f"{owner} must give it the group and permissions of {location.root}, and that let you write: check write "
        "permissions in the output directory."
    )
