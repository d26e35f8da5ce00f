"""Declares the verbs of ``ptycholive`` and their options, one file for each group.

The work of a verb is imported when the verb runs, so that ``--help`` does not wait for torch.
"""
