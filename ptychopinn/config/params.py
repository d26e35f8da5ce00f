"""The one global dictionary of PtychoPINN's older code, for programs that still read it; nothing in this one does."""

from __future__ import annotations

from typing import Any

cfg: dict[str, Any] = {}
"""Filled by :func:`ptychopinn.config.legacy.tell` under the older code's key names."""
