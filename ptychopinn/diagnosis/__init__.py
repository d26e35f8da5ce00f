"""Tests of a scan and its picture: fit of probe and positions, plausibility, resolution."""
