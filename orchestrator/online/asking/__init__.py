"""What a session asks about, how, and what comes of it."""
