"""Judging a policy by chains of sub-tasks in a simulator."""
