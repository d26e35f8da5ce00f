"""Opens sinks by the name of their entry point."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from daemon.config import SinkOptions
from daemon.errors import ConfigError
from daemon.sinks.base import Sink

GROUP = "ptycholive.sinks"


def open_sinks(wanted: Sequence[SinkOptions]) -> list[Sink]:
    """Return the sinks of a configuration, not yet connected.

    Raises
    ------
    ConfigError
        If one is not installed, or its options are invalid.
    """
    return [_open(options) for options in wanted]


def _open(options: SinkOptions) -> Sink:
    known = {point.name: point for point in entry_points(group=GROUP)}
    if options.kind not in known:
        raise ConfigError(
            f'[output] sinks: there is no sink "{options.kind}"; installed are {", ".join(sorted(known)) or "none"}'
        )
    point = known[options.kind]
    try:
        sink = point.load()(options.options)
    except ImportError as fault:
        raise ConfigError(
            f'[output] sinks: "{options.kind}" cannot be loaded ({fault}); {_how_to_install(point)}'
        ) from fault
    except Exception as fault:  # a plug-in may raise anything
        raise ConfigError(f'[output] sinks: "{options.kind}": {_first_fault(fault)}') from fault
    if not isinstance(sink, Sink):
        raise ConfigError(
            f'[output] sinks: "{options.kind}" ({point.value}) did not return a sink; report this to its authors'
        )
    return sink


def _how_to_install(point: EntryPoint) -> str:
    own = point.value.startswith("daemon.")
    return f'install it: pip install "ptycholive[{point.name}]"' if own else f"install what {point.value} needs"


def _first_fault(fault: Exception) -> str:
    """Return one sentence; pydantic's errors have many lines, and a KeyError only a name."""
    errors = getattr(fault, "errors", None)
    if not callable(errors):
        return str(fault) if isinstance(fault, ConfigError | ValueError) else f"{type(fault).__name__}: {fault}"
    parts = (f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}" for error in errors())
    return "; ".join(part.removeprefix(": ").replace("Value error, ", "") for part in parts)
