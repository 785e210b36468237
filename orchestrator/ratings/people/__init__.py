"""What people say about rated pictures: a table of its own, which is never taken for a model's answers."""
