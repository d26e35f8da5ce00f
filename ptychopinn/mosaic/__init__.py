"""The network layer: groups of frames, stitching, second looks."""
