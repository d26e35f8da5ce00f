"""The help of ``ptycholive``: its verbs in groups, each in the order in which a person uses them."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

GROUPS: dict[str, tuple[str, ...]] = {
    "Live": ("demo", "init", "serve", "check", "watch", "status", "scans", "stop"),
    "Streams": ("replay", "record"),
    "Files": ("predict", "refine", "validate", "convert", "compare", "simulate"),
    "Models": ("train", "finetune", "model"),
    "Configuration and measurement": ("config", "bench"),
}
OTHERS = "More"
"""Group of the verbs that have none."""


class GroupedHelp(TyperGroup):
    """Lists the verbs by group."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the groups."""
        known = {name for names in GROUPS.values() for name in names}
        others = tuple(name for name in self.list_commands(ctx) if name not in known)
        width = formatter.width - 6 - max(map(len, self.commands))
        for title, names in {**GROUPS, OTHERS: others}.items():
            verbs = [(name, self.get_command(ctx, name)) for name in names]
            rows = [
                (name, verb.get_short_help_str(width)) for name, verb in verbs if verb is not None and not verb.hidden
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=14)
