"""A run's folder: its layout, its home, its checkpoints, its tracking, and reading it back."""
