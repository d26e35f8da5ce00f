"""The refined layer: iterative reconstruction, position offsets, probe retrieval."""
