"""Wrong scan positions: their error, and the true positions, found from the frames."""
