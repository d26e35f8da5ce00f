"""What faults of the disk mean, and how much room there is."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
_WORDS = {
    errno.ENOSPC: "the disk of {folder} is full: make room on it",
    errno.EDQUOT: "the disk quota of {folder} is used up: make room or raise it",
    errno.EFBIG: "a file in {folder} is larger than may be written there: raise the limit of file size (ulimit -f)",
    errno.EMFILE: "as many files and connections are open as this program may have: raise its limit (ulimit -n, LimitNOFILE)",
    errno.ENFILE: "this machine has as many files open as it may: close some or raise fs.file-max",
    errno.EROFS: "the disk of {folder} is read-only: mount it for writing",
    errno.EACCES: "{folder} may not be written to: give the daemon the right",
    errno.EPERM: "{folder} may not be written to: give the daemon the right",
    errno.EIO: "the disk of {folder} reports faults: look at the system's log",
    errno.ESTALE: "the network disk of {folder} has gone: mount it again",
    errno.ENOENT: "{folder} has gone: make it again or mount its disk",
}


def is_full(fault: BaseException) -> bool:
    """Whether a fault says that room lacks, which deleting something can give."""
    return isinstance(fault, OSError) and fault.errno in FULL


def is_of_disk(fault: OSError) -> bool:
    """Whether a fault is one of disks and limits, which words for a person say better than a traceback."""
    return fault.errno in _WORDS and fault.errno != errno.ENOENT


def fault_words(fault: OSError, folder: Path) -> str:
    """Return what a fault while writing in ``folder`` means, and what to do."""
    words = _WORDS.get(fault.errno or 0, f"{{folder}} cannot be written to ({fault.strerror or fault})")
    return words.replace("{folder}", str(folder))


def free_bytes(folder: Path) -> int:
    """Return what is free on the disk of ``folder`` or, where it is not there yet, of the one above it."""
    return shutil.disk_usage(_existing(folder)).free


def are_on_one_disk(one: Path, other: Path) -> bool:
    """Whether deleting in one folder makes room in the other."""
    return _existing(one).stat().st_dev == _existing(other).stat().st_dev


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
