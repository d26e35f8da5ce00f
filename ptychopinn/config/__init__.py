"""The workflow's configurations."""
