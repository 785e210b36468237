"""Policies as RLlib algorithms: the one folder of `algorithms` that may import `ray.rllib`."""
