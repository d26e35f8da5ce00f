"""``bench``: speed of each stage and of the whole chain."""
