"""What an experiment is: reading its file, messages about what is wrong in it, checks before a start."""
