"""Attaching to a detector: listens to its stream, takes answers, makes a checked configuration. Used by ``init`` and the page."""
