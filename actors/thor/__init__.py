"""ALFRED's tasks in AI2-THOR: chains of household sub-tasks that a policy is judged by."""
