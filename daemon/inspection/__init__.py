"""A closer look at a scan, for viewers: single frames, the probe. Reads copies; never in the way of frames."""
