"""BabyAI on minigrid: chains of sub-tasks, the expert that demonstrates them, and how far each action helps."""
