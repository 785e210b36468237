"""Policies that leave the house: what a run keeps of its policy beside the weights, and `likert export`."""
