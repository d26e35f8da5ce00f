"""Diagnosis of a scan's first frames, and the probe retrieved from them, beside the scan."""
