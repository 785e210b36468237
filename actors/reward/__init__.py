"""The reward-model learner."""
