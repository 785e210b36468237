"""ERL-VLM on drawer-close in one file and one process, as a researcher would write it on Stable-Baselines3.

The other side of `benchmarks/whole_loop.py`, which starts it. It does the work of `make demo` with the same rater,
words, pictures, reward networks, batches and counts, one thing after the other, and neither stores, tracks, resumes nor
evaluates anything. It uses Likert's rater and the words that this was trained on, and nothing else of it. Its last line
is JSON.
"""

import argparse
import itertools
import json
import time

import gymnasium
import metaworld
import mujoco
import numpy as np
import torch
from PIL import Image
from stable_baselines3 import SAC
from stable_baselines3.common.logger import configure
from torch import nn
from transformers import AutoTokenizer
from vllm import LLM, SamplingParams

from actors.rating.models import POCKET_FOLDER
from algorithms.prompts import Prompt, analysis_prompt, rating_prompt
from algorithms.ratings import RatingRequest, TaskText
from algorithms.scales import RatingScale

LEVELS, PX, SEEN_PX, REPEAT, EPISODE = 3, 112, 56, 2, 200
SEED_STEPS, INTERVAL, PER_SESSION, BATCH, EPOCHS, ENOUGH = 2_000, 1_000, 75, 64, 20, 0.97
"""Environment steps, ratings and epochs as in tune_configs/demo.yaml."""


class DrawerClose(gymnasium.Env):
    """MetaWorld's task from one start, each action twice, with its picture."""

    def __init__(self) -> None:
        self.env = metaworld.ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE["drawer-close-v3-goal-observable"](seed=0)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (39,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
        model = self.env.model
        model.vis.quality.shadowsize = model.vis.quality.offsamples = 0
        self.renderer = mujoco.Renderer(model, PX, PX)
        self.camera = mujoco.MjvCamera()
        self.camera.lookat = [0.0, 0.64, 0.13]
        away = np.array([0.75, 0.52, 0.5]) - self.camera.lookat
        self.camera.distance = np.linalg.norm(away)
        self.camera.azimuth = np.degrees(np.arctan2(-away[1], -away[0]))
        self.camera.elevation = -np.degrees(np.arcsin(away[2] / self.camera.distance))
        model.vis.global_.fovy = 52.0

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        observation, _ = self.env.reset()
        return observation.astype(np.float32), {}

    def step(self, action):
        for _ in range(REPEAT):
            observation, reward, _, _, info = self.env.step(action)
        self.steps += REPEAT
        return observation.astype(np.float32), reward, False, self.steps >= EPISODE, {"success": info["success"]}

    def picture(self) -> np.ndarray:
        """uint8 [112, 112, 3]."""
        self.renderer.update_scene(self.env.data, self.camera)
        self.renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        self.renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        return self.renderer.render()


class Rater:
    """The pocket rater, asked in two turns: an analysis, then a level."""

    def __init__(self) -> None:
        self.llm = LLM(str(POCKET_FOLDER), max_model_len=1024, enforce_eager=True, gpu_memory_utilization=0.1)
        self.chat = AutoTokenizer.from_pretrained(POCKET_FOLDER)
        task = TaskText("close the drawer", "the green drawer")
        self.request = RatingRequest((), task, RatingScale.likert(LEVELS), "two_turn")
        self.levels = [self.chat.encode(str(level + 1), add_special_tokens=False)[0] for level in range(LEVELS)]

    def rate(self, pictures: list[np.ndarray]) -> np.ndarray:
        """Levels int64 [N]."""
        first = self._worded(analysis_prompt(self.request))
        asked = [{"prompt": first, "multi_modal_data": {"image": Image.fromarray(one)}} for one in pictures]
        said = self.llm.generate(asked, SamplingParams(temperature=0.0, max_tokens=256), use_tqdm=False)
        asked = [{"prompt": self._worded(rating_prompt(self.request, one.outputs[0].text))} for one in said]
        choice = SamplingParams(temperature=0.0, max_tokens=1, allowed_token_ids=self.levels)
        answers = self.llm.generate(asked, choice, use_tqdm=False)
        return np.array([self.levels.index(one.outputs[0].token_ids[0]) for one in answers])

    def _worded(self, prompt: Prompt) -> str:
        shown = [{"type": "image"}] if prompt.with_images else []
        content = [*shown, {"type": "text", "text": prompt.text}]
        said = [{"role": "system", "content": prompt.system}, {"role": "user", "content": content}]
        return self.chat.apply_chat_template(said, tokenize=False, add_generation_prompt=True)


def network() -> nn.Sequential:
    """A member of the reward model: uint8 [N, 56, 56, 3] made float and put channels first, to [N, 1]."""
    layers, channels_in = [], 3
    for channels, kernel, stride in ((16, 5, 3), (32, 3, 2), (64, 3, 2)):
        layers += [nn.Conv2d(channels_in, channels, kernel, stride), nn.ReLU()]
        channels_in = channels
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(576, 1), nn.Tanh())


def loss_of(rewards: torch.Tensor, ratings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The rating loss with mean absolute error, and which ratings were the likeliest level."""
    counts = torch.bincount(ratings, minlength=LEVELS)
    scaled = (rewards - rewards.min()) / (rewards.max() - rewards.min() + 1e-6)
    ordered = scaled.detach().sort().values
    cuts = torch.cat([ordered[:1] * 0, ordered, ordered[:1] * 0 + 1])[counts.cumsum(0)[:-1]]
    bounds = torch.cat([cuts.new_zeros(1), cuts, cuts.new_ones(1)])
    logits = -30.0 * (scaled[:, None] - bounds[:-1]) * (scaled[:, None] - bounds[1:])
    chances = logits.masked_fill(counts == 0, -torch.inf).softmax(dim=1)
    return (nn.functional.one_hot(ratings, LEVELS) - chances).abs().sum(dim=1).mean(), chances.argmax(dim=1) == ratings


def learn(members: nn.ModuleList, optimiser: torch.optim.Adam, seen: torch.Tensor, ratings: torch.Tensor, rng) -> None:
    """Balanced batches until the training accuracy is enough."""
    levels = [np.flatnonzero(ratings.numpy() == level) for level in ratings.unique().tolist()]
    for _ in range(EPOCHS):
        num_batches = -(-max(map(len, levels)) // (BATCH // len(levels)))
        right = []
        for _ in range(num_batches):
            optimiser.zero_grad()
            for member in members:
                batch = np.concatenate([rng.choice(items, BATCH // len(levels)) for items in levels])
                loss, hits = loss_of(member(seen[batch]).squeeze(1), ratings[batch])
                loss.backward()
                right.append(hits.float().mean())
            optimiser.step()
        if torch.stack(right).mean() > ENOUGH:
            return


@torch.no_grad()
def scores(members: nn.ModuleList, seen: torch.Tensor) -> np.ndarray:
    """Mean of the members, float32 [N]."""
    return (
        torch.cat([torch.stack([member(part) for member in members]).mean(0) for part in seen.split(64)])
        .squeeze(1)
        .numpy()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env-steps", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    wanted, seed = arguments.env_steps, arguments.seed
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng, env, rater = np.random.default_rng(seed), DrawerClose(), Rater()
    sac = SAC("MlpPolicy", env, learning_rate=1e-3, gamma=0.98, tau=0.01, batch_size=128, buffer_size=20_000,
              policy_kwargs={"net_arch": [128, 128]}, device="cpu", seed=seed)  # fmt: skip
    sac.set_logger(configure(None, []))
    members = nn.ModuleList(network() for _ in range(3))
    optimiser = torch.optim.Adam(members.parameters(), lr=3e-4)
    pictures: list[np.ndarray] = []
    small = np.empty((wanted // REPEAT, 3, SEEN_PX, SEEN_PX), np.float32)
    rated, ratings, centre, width = [], torch.empty(0, dtype=torch.int64), 0.0, 1.0
    loop = time.monotonic()
    observation, _ = env.reset()
    for step in itertools.count():
        if step * REPEAT >= wanted:
            break
        random = step * REPEAT < SEED_STEPS
        action = env.action_space.sample() if random else sac.predict(observation)[0]
        following, _, _, truncated, info = env.step(action)
        pictures.append(env.picture())
        small[step] = np.asarray(Image.fromarray(pictures[-1]).reduce(PX // SEEN_PX)).transpose(2, 0, 1) / 255.0
        reward = 0.0 if random else (scores(members, torch.from_numpy(small[step][None]))[0] - centre) / width
        sac.replay_buffer.add(observation, following, action, np.array([reward]), np.array([False]), [info])
        observation = env.reset()[0] if truncated else following
        if not random:
            sac.train(gradient_steps=1, batch_size=128)
        done = (step + 1) * REPEAT
        if done >= SEED_STEPS and done % INTERVAL == 0 and done < wanted:
            chosen = rng.choice(step + 1, PER_SESSION, replace=False)
            ratings = torch.cat([ratings, torch.from_numpy(rater.rate([pictures[one] for one in chosen]))])
            rated += chosen.tolist()
            learn(members, optimiser, torch.from_numpy(small[rated]), ratings, rng)
            told = scores(members, torch.from_numpy(small[: step + 1]))
            centre, width = float(told.mean()), float(told.std() or 1.0)
            sac.replay_buffer.rewards[: step + 1, 0] = (told - centre) / width
    ended = time.monotonic()
    print(json.dumps({"loop_s": ended - loop, "ratings": len(rated),
                      "levels": ratings.bincount(minlength=LEVELS).tolist()}), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
