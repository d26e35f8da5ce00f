"""What a daemon does before it works in folders that an earlier one, or another, may have used."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import socket
from contextlib import suppress
from pathlib import Path

from daemon.errors import ConfigError

LOCK_NAME = ".daemon"

log = logging.getLogger(__name__)


class FolderLocks:
    """Keeps folders for this daemon alone. The locks go with the process, however it ends.

    A file system that knows no locks, or a folder that cannot be written, is no hindrance here.

    Raises
    ------
    ConfigError
        If another daemon works in one of them.
    """

    def __init__(self, *folders: Path) -> None:
        self._descriptors: list[int] = []
        try:
            for folder in dict.fromkeys(folders):
                self._lock(folder)
        except BaseException:
            self.release()
            raise

    def _lock(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError:  # where that matters, it is said when the folder is used
            return
        self._descriptors.append(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _delete_parts(folder, _owner(descriptor))
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        except BlockingIOError:
            owner = _owner(descriptor) or "of unknown number"
            raise ConfigError(
                f"another daemon ({owner}) works in {folder}; stop it, or choose another folder in [output]"
            ) from None
        except OSError as fault:
            log.warning("%s cannot be locked (%s); see that no other daemon works in it", folder, fault.strerror)

    def release(self) -> None:
        """Give the folders back."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def _owner(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace").strip()


def _delete_parts(folder: Path, owner: str) -> None:
    """Delete the files that the daemon before was writing when it was killed; they never took their names."""
    found = re.fullmatch(r"process (\d+) on (.+)", owner)
    if found is None or found[2] != socket.gethostname():
        return
    for path in (*folder.glob(f".*.{found[1]}-*.part"), *folder.glob(f"*/.*.{found[1]}-*.part")):
        with suppress(OSError):
            path.unlink()
