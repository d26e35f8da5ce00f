"""Ptycholive inside Ptychodus: reconstructors that run the command ``ptycholive``, or follow its daemon.

Nothing here imports torch: the command has an environment of its own.
"""
