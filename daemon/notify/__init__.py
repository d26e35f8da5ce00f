"""Notification of other programs: a webhook."""
