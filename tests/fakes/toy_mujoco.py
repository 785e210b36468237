"""Reachers of somebody's own, and wrappers around MuJoCo environments: what draws again, and what does not."""

import gymnasium
import numpy as np
from gymnasium.envs.mujoco.reacher_v5 import ReacherEnv


class Stamped(gymnasium.Wrapper):
    """Shows how many pictures there were: nobody draws that again."""

    count = 0

    def render(self):
        picture = np.array(self.env.render())
        self.count += 1
        picture[0, 0] = self.count
        return picture


class Plain(gymnasium.Wrapper):
    """Changes nothing."""


class OwnReacher(ReacherEnv):
    """Of somebody's own: what else its pictures show, nobody knows."""


class CountingReacher(ReacherEnv):
    """Its pictures tell how many there were."""

    count = 0

    def render(self):
        picture = np.array(super().render())
        self.count += 1
        picture[0, 0] = self.count
        return picture


class Repainted(ReacherEnv):
    """Changes its colours within an episode."""

    def step(self, action):
        self.model.geom_rgba[0, 0] += 0.01
        return super().step(action)
