"""Runs work on a Ray cluster: address, connection, tasks, and the manifest of a batch. Ray is imported only when it is used."""
