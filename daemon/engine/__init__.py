"""The thread that owns the device: from scan points to layer updates."""
