"""Scan positions: Bluesky, PandA, PandABlocks, the native stream, computed scans, tables."""
