"""What is learned: ratings, prompts, reward models, losses, replay and policies. Knows no simulator, server or file."""
