"""`likert doctor`: what keeps a machine, or a cluster, from running an experiment, and what to do about it."""
