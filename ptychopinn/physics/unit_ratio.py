"""Rule for a probe in other units than its patterns."""

UNIT_RATIO = 10.0
"""Ratio of the probe's energy to the photons of the brightest frame, or its inverse, from which the probe is in other units."""
