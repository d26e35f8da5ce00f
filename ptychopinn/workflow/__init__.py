"""Inference, reassembly, export and simulated training data for users."""
