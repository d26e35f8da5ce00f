"""Programs in separate processes: pty-chi for finished scans, probe retrieval from first frames."""
