"""The rollout worker: simulators, cameras and the renderer."""
