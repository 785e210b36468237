"""Worlds: what acts back. A folder for each family, and one interface, which is all that others know of them."""
