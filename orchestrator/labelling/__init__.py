"""`likert label`: trajectories get reward columns, from scores of windows or from another labeller."""
