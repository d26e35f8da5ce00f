"""The process and its machine: logs, systemd, memory, descriptors, disk."""
