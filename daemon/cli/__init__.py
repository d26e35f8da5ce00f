"""The command ``ptycholive``."""
