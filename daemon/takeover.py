"""Takes over the folders of an earlier daemon: locks them, deletes its partial files, closes the journals of finished scans."""

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
    """Locks folders for this daemon. The locks end with the process, even if it crashes.

    A file system without locks, or a folder that cannot be written, is accepted here.

    Raises
    ------
    ConfigError
        If another daemon uses one of them.
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
        except OSError:  # if that matters, it is reported when the folder is used
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
                f"another daemon ({owner}) uses {folder}; stop it, or choose another folder in [output]"
            ) from None
        except OSError as fault:
            log.warning("%s cannot be locked (%s); make sure that no other daemon uses it", folder, fault.strerror)

    def release(self) -> None:
        """Unlock the folders."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def _owner(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace").strip()


def _delete_parts(folder: Path, owner: str) -> None:
    """Delete the partial files that the former daemon was writing when it was killed."""
    found = re.fullmatch(r"process (\d+) on (.+)", owner)
    if found is None or found[2] != socket.gethostname():
        return
    for path in (*folder.glob(f".*.{found[1]}-*.part"), *folder.glob(f"*/.*.{found[1]}-*.part")):
        with suppress(OSError):
            path.unlink()
