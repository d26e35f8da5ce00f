"""Engines that work on finished or first frames in processes of their own."""
