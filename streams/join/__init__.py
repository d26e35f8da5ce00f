"""Pairing of frames with positions, and the account of each scan."""
