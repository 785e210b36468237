"""Environments of Gymnasium as people write them: a dot that draws itself, and what can be wrong with one."""

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Text

GOAL = 0.5


class Line(gymnasium.Env):
    """A dot on a line from -1 to 1; it ends at the right end with reward 1. Each way differs in length."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, render_mode=None, size=(20, 40), step=0.2, ends=True):
        self.render_mode = render_mode
        self.size, self.stride, self.ends = size, step, ends
        self.observation_space = Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = Box(-2.0, 0.5, (1,), np.float32)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.dot = float(self.np_random.uniform(-0.9, 0.5))
        return self.seen(), {}

    def step(self, action):
        self.dot = float(np.clip(self.dot + self.stride * (action[0] + 0.75) / 1.25, -1.0, 1.0))
        there = self.dot > 0.7
        reward = 1.0 if there else -0.01
        return self.seen(), reward, there and self.ends, False, {"is_success": np.float32(there), "at": self.dot}

    def seen(self):
        return np.array([self.dot], np.float32)

    def render(self):
        height, width = self.size
        picture = np.full((height, width, 3), 60, np.uint8)
        picture[:, round((self.dot + 1.0) / 2.0 * (width - 1))] = 255
        return picture


class Limited(Line):
    """A factory's product with a limit of its own."""

    def __new__(cls, **kwargs):
        return gymnasium.wrappers.TimeLimit(Line(**kwargs), 7)


class Wandering(Line):
    """Success comes and goes, and the reset tells of it."""

    def reset(self, seed=None, options=None):
        observation, _ = super().reset(seed=seed)
        return observation, {"success": self.dot > 0.0}

    def step(self, action):
        observation, reward, _, _, _ = super().step(action)
        return observation, reward, False, False, {"success": self.dot > 0.0}


class Entries(Line):
    """Observations in a Dict: two of numbers, one of a picture."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        near, far = Box(-1.0, 1.0, (1,), np.float32), Box(-9.0, 9.0, (2, 2), np.float64)
        self.observation_space = Dict({"near": near, "far": far, "image": Box(0, 255, (20, 40, 3), np.uint8)})

    def seen(self):
        return {"near": super().seen(), "far": np.full((2, 2), 3.0 * self.dot), "image": self.render()}


class Reaching(Line):
    """As environments with goals have it: a rule tells success from what is reached and what should be."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        one = Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = Dict({"observation": one, "achieved_goal": one, "desired_goal": one})

    def seen(self):
        reached = super().seen()
        return {"observation": reached, "achieved_goal": reached, "desired_goal": np.array([0.4], np.float32)}

    def _is_success(self, achieved_goal, desired_goal):
        return np.float32(np.linalg.norm(achieved_goal - desired_goal) < 0.3)


class Nested(Line):
    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        self.observation_space = Dict({"arm": Dict({"joints": Box(-1.0, 1.0, (1,))}), "time": Discrete(5)})


class Choices(Line):
    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        self.action_space = MultiDiscrete([4, 2])


class Endless(Line):
    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        self.action_space = Box(-np.inf, np.inf, (1,))


class NoPicture(Line):
    metadata = {"render_modes": ["human"]}  # noqa: RUF012


class Pictureless(Line):
    def render(self):
        return None


class Floats(Line):
    def render(self):
        return super().render() / 255.0


class Black(Line):
    def render(self):
        return 0 * super().render()


class Still(Line):
    def render(self):
        return np.full((20, 40, 3), 60, np.uint8)


class Nan(Line):
    def step(self, action):
        return np.array([np.nan], np.float32), *super().step(action)[1:]


class NanReward(Line):
    def step(self, action):
        observation, _, *rest = super().step(action)
        return observation, float("nan"), *rest


class Wide(Line):
    def seen(self):
        return np.zeros(3, np.float32)


class Broken(Line):
    def step(self, action):
        raise ZeroDivisionError("the motor is off")


class Uninformed(Line):
    def step(self, action):
        return *super().step(action)[:-1], None


class UninformedStart(Line):
    def reset(self, seed=None, options=None):
        return super().reset(seed=seed)[0], None


class OldStep(Line):
    def step(self, action):
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, info


class OldReset(Line):
    def reset(self, seed=None, options=None):
        return super().reset(seed=seed)[0]


class Leaving(Line):
    def step(self, action):
        raise SystemExit("bye")


class Doubtful(Line):
    def step(self, action):
        *rest, info = super().step(action)
        return *rest, info | {"is_success": np.float32("nan")}


class Failing(Line):
    """Good for forty steps, and then what it sees is no number."""

    num_steps = 0

    def step(self, action):
        self.num_steps += 1
        observation, *rest = super().step(action)
        return observation if self.num_steps <= 40 else observation * np.nan, *rest


class Chance(Line):
    """Starts anywhere, whatever the seed."""

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.dot = float(np.random.default_rng().uniform(-0.9, 0.5))
        return self.seen(), {}


class Begun(Line):
    """The task is done before anything is."""

    def reset(self, seed=None, options=None):
        return super().reset(seed=seed)[0], {"is_success": True}


class Tired(Line):
    """Each episode is slower than the one before."""

    def reset(self, seed=None, options=None):
        self.stride *= 0.5
        return super().reset(seed=seed)


class Flat(Line):
    """A picture of one colour, which changes."""

    def render(self):
        return np.full((20, 40, 3), round(100 + 50 * self.dot), np.uint8)


class Speck(Line):
    """One pixel of a large picture moves."""

    def __init__(self, render_mode=None):
        super().__init__(render_mode, size=(400, 400))

    def render(self):
        picture = np.full((400, 400, 3), 60, np.uint8)
        picture[:200] = 200
        picture[300, round(200 + 190 * self.dot)] = 255
        return picture


def number(**kwargs):
    """A factory that makes no environment."""
    return 5


class Errands(gymnasium.Env):
    """A token on a strip of cells; each episode says to which end it should go. Its choices begin at 1."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    cells = 5

    def __init__(self, render_mode=None, says="observation", high=2, beside=None):
        self.render_mode, self.says, self.beside = render_mode, says, beside
        self.action_space = Discrete(3, start=1)
        space = {"grid": Box(0, high, (1, self.cells, 2), np.uint8), "way": Discrete(2)}
        if says == "observation":
            space["errand"] = Text(40)
        if beside is not None:
            space["beside"] = beside
        self.observation_space = Dict(space)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.way = int(self.np_random.integers(1, self.cells - 1)), 0
        self.goal = int(self.np_random.integers(2)) * (self.cells - 1)
        return self.seen(), {"errand": self.errand()} if self.says == "info" else {}

    def errand(self):
        return "" if self.says == "nothing" else f"go  to the {'right' if self.goal else 'left'}\nend"

    def step(self, action):
        assert isinstance(action, np.int64) and self.action_space.contains(action)
        self.place = int(np.clip(self.place + (0, -1, 0, 1)[action], 0, self.cells - 1))
        self.way = int(action == 3)
        there = self.place == self.goal
        return self.seen(), float(there), there, False, {}

    def seen(self):
        grid = np.zeros((1, self.cells, 2), np.uint8)
        grid[0, self.place, 0], grid[0, :, 1] = 1, 2
        entries = {"grid": grid, "way": self.way, "errand": self.errand(), "beside": np.zeros(2, np.float32)}
        return {name: entries[name] for name in self.observation_space.spaces}

    def render(self):
        picture = np.full((8, 8 * self.cells, 3), 60, np.uint8)
        picture[:, 8 * self.place : 8 * self.place + 8] = 255
        return picture
