"""What people say about rated pictures: a table of its own, which nothing that learns reads."""
