"""Where rewards come from: `source` is what the loop knows, the others are what it may be handed."""
