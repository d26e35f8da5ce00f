"""The REST interface, the WebSocket of updates and the viewer page."""
