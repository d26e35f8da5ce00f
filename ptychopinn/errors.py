"""Faults of reconstruction, one tree. Each message says what, where, and what to do."""

from __future__ import annotations


class ReconstructionError(Exception):
    """Root of every fault of this package."""


class FileFormatError(ReconstructionError):
    """A file is not what it says, or lacks what is needed."""


class GeometryError(ReconstructionError):
    """Shapes, orientations or positions do not fit together."""


class ProbeMismatchError(ReconstructionError):
    """A probe does not fit the patterns: another size or another pixel."""


class ConfigurationError(ReconstructionError):
    """A value of a configuration is of the wrong kind, out of range, or does not fit another."""


class TrainingInterruptedError(ReconstructionError):
    """A training was stopped before its end; what it has reached is kept, and it can go on."""
