"""Propagation, probe modes, misfit; a first guess of the probe."""
