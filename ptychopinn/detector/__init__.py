"""From a raw frame to the pattern: geometry, invalid pixels, beam centre, crop."""
