"""Background work: fine-tuning, diagnosis, external programs."""
