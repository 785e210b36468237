"""Chains of ALFRED's sub-tasks in AI2-THOR's kitchens: choices, pictures alone, an instruction for each episode."""
