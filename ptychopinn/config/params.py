"""The global dictionary of PtychoPINN's older code, for programs that still read it; this program does not."""

from __future__ import annotations

cfg: dict[str, object] = {}
"""Filled by :func:`ptychopinn.config.legacy.update_params`, with the key names of the older code; its values have any type."""
