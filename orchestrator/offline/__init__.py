"""Offline runs: a policy learns from a labelled data set and is judged on chains of sub-tasks."""
