"""``python -m daemon.cli`` is ``ptycholive``."""

from daemon.cli.main import main

main()
