"""Health, the status report and its sentences."""
