"""Errors of reconstruction, in one tree. Each message says what, where, and what to do."""

from __future__ import annotations


class ReconstructionError(Exception):
    """Base class of all errors of this package."""


class FileFormatError(ReconstructionError):
    """A file has a wrong format, is damaged, or lacks required entries."""


class GeometryError(ReconstructionError):
    """Shapes, orientations or positions do not fit together."""


class ProbeMismatchError(ReconstructionError):
    """A probe does not fit the patterns: another size or another pixel."""


class ConfigurationError(ReconstructionError):
    """A value of a configuration has the wrong type, is out of range, or contradicts another."""


class MissingFolderError(FileFormatError, FileNotFoundError):
    """The folder of a file to write does not exist."""


class TrainingInterruptedError(ReconstructionError):
    """A training was stopped before its end; its state is saved and can be resumed."""
