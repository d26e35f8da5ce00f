"""Ends of streams: ZeroMQ and TCP, keys, connected peers."""
