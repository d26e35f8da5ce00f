"""Diagnosis of a scan's first frames and retrieval of the probe from them, in the background."""
