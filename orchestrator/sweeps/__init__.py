"""Sweeps: many experiments of one settings file, run by Ray Tune, with a summary over seeds."""
