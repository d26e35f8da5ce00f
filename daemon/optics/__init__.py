"""Optics and probe of a scan."""
