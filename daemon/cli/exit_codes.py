"""Exit codes of ``ptycholive``, and which error gives which."""

from __future__ import annotations

from enum import IntEnum

from daemon.errors import ClusterError, ConfigError, IncompleteScanError
from ptychopinn.errors import ConfigurationError, ReconstructionError
from streams.errors import EndpointError, KeyFileError, StreamError


class ExitCode(IntEnum):
    """The exit code of a verb; listed in ``deploy/docs/reference/cli.md``."""

    GOOD = 0
    FAILED = 1
    USAGE = 2
    """Wrong command line or configuration."""
    REFUSED = 3
    """Input data was refused."""
    ENDPOINT = 4
    """An endpoint or a cluster is unreachable or silent."""
    INCOMPLETE = 5
    """A scan ended incomplete."""
    INTERRUPTED = 130
    """Ctrl-C: 128 + SIGINT, as shells count."""
    TERMINATED = 143
    """128 + SIGTERM."""


def exit_code(fault: BaseException) -> ExitCode:
    """Return the exit code for an error."""
    if isinstance(fault, ConfigError | ConfigurationError | KeyFileError):
        return ExitCode.USAGE
    if isinstance(fault, ClusterError | EndpointError | TimeoutError):
        return ExitCode.ENDPOINT
    if isinstance(fault, IncompleteScanError):
        return ExitCode.INCOMPLETE
    return ExitCode.REFUSED if isinstance(fault, ReconstructionError | StreamError) else ExitCode.FAILED
