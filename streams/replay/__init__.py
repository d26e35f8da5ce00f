"""Sending scans as a detector would, and recordings of streams."""
