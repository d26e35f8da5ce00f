"""Wrong scan positions: how far they are off, and where the frames really lie, from the frames themselves."""
