"""Products and records of scans on disk."""
