"""Work beside the scan: fine-tuning, diagnosis, external programs."""
