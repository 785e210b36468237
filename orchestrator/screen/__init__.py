"""Live progress on a terminal, and off it."""
