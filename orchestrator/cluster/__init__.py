"""Ray: connecting to it, what fits where, making actors and replacing those that die. Only here are actors made."""
