"""Who does what when: the command, settings, the loops, the rating store, tracking and reports."""
