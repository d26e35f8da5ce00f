"""Turns disk errors into sentences, and reports free space."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
_WORDS = {
    errno.ENOSPC: "the disk of {folder} is full: free some space",
    errno.EDQUOT: "the disk quota of {folder} is used up: free some space or raise the quota",
    errno.EFBIG: "a file in {folder} has reached the limit of file size: raise the limit (ulimit -f)",
    errno.EMFILE: "too many files and connections are open: raise the limit of this program (ulimit -n, LimitNOFILE)",
    errno.ENFILE: "this machine has reached its limit of open files: close some or raise fs.file-max",
    errno.EROFS: "the disk of {folder} is read-only: mount it for writing",
    errno.EACCES: "{folder} may not be written to: give this user write permission",
    errno.EPERM: "{folder} may not be written to: give this user write permission",
    errno.EIO: "the disk of {folder} reports faults: see the system log",
    errno.ESTALE: "the network disk of {folder} has gone: mount it again",
    errno.ENOENT: "{folder} has gone: create it again or mount its disk",
}


def is_full(fault: BaseException) -> bool:
    """Whether an error means that space is missing, which deleting files can free."""
    return isinstance(fault, OSError) and fault.errno in FULL


def is_of_disk(fault: OSError) -> bool:
    """Whether an error is one of disks and limits, for which a sentence is better than a traceback."""
    return fault.errno in _WORDS and fault.errno != errno.ENOENT


def fault_words(fault: OSError, folder: Path) -> str:
    """Return the meaning of an error while writing in ``folder``, and what to do."""
    words = _WORDS.get(fault.errno or 0, f"{{folder}} cannot be written to ({fault.strerror or fault})")
    return words.replace("{folder}", str(folder))


def free_bytes(folder: Path) -> int:
    """Return the free space on the disk of ``folder``, bytes; of its nearest existing parent if it does not exist yet."""
    return shutil.disk_usage(_existing(folder)).free


def are_on_one_disk(one: Path, other: Path) -> bool:
    """Whether deleting files in one folder frees space in the other."""
    return _existing(one).stat().st_dev == _existing(other).stat().st_dev


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
