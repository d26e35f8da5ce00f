"""Detector and position streams: bytes and time in, aligned scan points out."""
