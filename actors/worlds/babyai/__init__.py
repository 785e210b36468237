"""Chains of sub-tasks in BabyAI's rooms: choices, a grid of codes, and an instruction of its own for each episode."""
