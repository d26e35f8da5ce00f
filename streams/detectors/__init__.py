"""Detectors that are not ZeroMQ streams: Merlin, EPICS PV Access."""
