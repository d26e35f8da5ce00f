"""Names of the files that a verb writes for several scans."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from daemon.errors import ConfigError


def is_folder(data: list[Path], output: Path) -> bool:
    """Return whether ``output`` is a folder for the products: for several scans, or if it is one."""
    return len(data) > 1 or output.is_dir()


def targets_of(data: list[Path], output: Path) -> list[Path]:
    """Return the product file of each data file. Files of the same name get the name of their folder as a prefix."""
    into_folder = is_folder(data, output)
    try:
        (output if into_folder else output.parent).mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        advice = "for several files, give a directory" if into_folder else "choose another place"
        raise ConfigError(f"--output {output} cannot be created ({fault.strerror}); {advice}") from fault
    if not into_folder:
        return [output]
    stems = [path.name.split(".")[0] for path in data]
    uses = Counter(stems)
    names = [s if uses[s] == 1 else f"{p.resolve().parent.name}-{s}" for s, p in zip(stems, data, strict=True)]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ConfigError(
            f"two of the files would be written to {output / twice}.h5; run the command once for each, "
            "with different output directories"
        )
    return [output / f"{name}.h5" for name in names]
