"""Live ptychography daemon: composes streams and ptychopinn."""
