"""The search for true scan positions beside the engine."""
