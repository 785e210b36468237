"""Names that writers and readers of a run's folder agree on: its files, and the metrics that figures are drawn from."""

SETTINGS_FILE = "settings.yaml"
"""The resolved settings; `likert run` on this file is the same experiment."""
METRICS_FILE = "metrics.jsonl"
"""A JSON object per line: `env_step`, `time` (Unix seconds) and metrics by name."""
PROGRESS_FILE = "progress.npz"
"""Learned reward beside true progress, one entry per audited frame: `env_step` int64 [N] (when the frame was seen),
`learned_reward` float32 [N], `true_progress` float32 [N] in [0, 1]."""
PEOPLE_FILE = "people.json"
"""Where people's ratings count: ids of the opinions that each session was the first to hear, by its round."""
MLFLOW_FILE = "mlflow_run.json"
"""Id of the run at MLflow, so that a resumed run goes on with it."""
WORLD_FILE = "world.json"
"""What an online run found its world to be: sizes and bounds, as `actors.worlds.world.WorldSpec` has them."""
REWARD_MODEL_FILE = "reward_model.npz"
"""Weights of an online run's last reward model, by name, and its version; written at the run's end."""
LEARNER_STATE_FILE = "reward_model.pt"
"""In a checkpoint: the reward model with its optimiser and generator, and its version, 0 before it has learned."""
CHECKPOINTS_FOLDER = "checkpoints"
FIGURES_FOLDER = "figures"
FRAMES_FOLDER = "frames"
"""A sample of rated frames, for people."""
STEP_FRAMES_FOLDER = "step_frames"
"""The frames of the replay's steps, of a world that cannot draw them again: `orchestrator.runs.frame_archive`."""
STEP_FRAMES_FILE = "step_frames.json"
"""In a checkpoint: which of them it needs."""

EVAL_SUCCESS = "eval/success"
"""Share of evaluation episodes with the world's success flag, by the task's rule: as a rule at any step."""
EVAL_RETURN = "eval/env_return"
"""Mean return of the world's own rewards in evaluation episodes: what is shown where success is unknown."""
EVAL_SUCCESS_LAST_STEP = "eval/success_last_step"
"""Share of evaluation episodes with the flag at the last step."""
EVAL_ANYWHERE = "eval/anywhere_success"
"""From starts drawn anywhere, where success is judged around the task's fixed one."""
EVAL_DONE = "eval/done"
"""Share of evaluation episodes in which the thing was done at any step: its last true stage. Only where it is known."""
EVAL_DONE_LAST_STEP = "eval/done_last_step"
"""Share of evaluation episodes in which the thing was done at the last step."""
CONTROLS = ("random", "untrained")
"""Policies evaluated once, as `eval/random_success` and so on: without them a gain looks larger than it is."""
RATINGS_ASKED = "rating/asked"
"""Questions asked so far."""
RATING_LEVEL = "rating/level_{number}"
"""Ratings of a level in one session, 1 for the worst."""
CANARIES_CHANGED = "canary/changed"
"""Share of the canaries that the rater answers otherwise than at first: see `feedback.canaries`."""
CANARIES_WRONG = "canary/known_wrong"
"""Share of the pictures of known levels that the rater answers otherwise: see `feedback.canaries.known`."""
ACCURACIES = {
    "reward/accuracy": "reward model, of the ratings it learns from",
    "rating/stage_accuracy": "ratings, of the simulator's stages",
    "rating/preference_accuracy": "preferences, of the simulator's progress",
    "reward/success_accuracy": "highest rating, of the simulator's success",
}
"""Metrics in [0, 1] that the figure of accuracies shows, with their labels."""


def control_metric(control: str, metric: str) -> str:
    """Name of a control's metric: `random`, `eval/success` -> `eval/random_success`."""
    folder, name = metric.split("/")
    return f"{folder}/{control}_{name}"


POLICY_FILE = "policy.npz"
"""Weights of an offline run's policy, for `algorithms.language_actor.LanguageActor`: of its end in the run's folder, of
a checkpoint's time in that."""
POLICY_ABOUT_FILE = "policy.json"
"""What that policy needs beside its weights: words, sizes, names and bounds of actions."""
BEST_POLICY_FILE = "best_policy.npz"
"""Weights of an online run's policy with the best evaluation so far: runs can forget."""


def chain_metric(start: str, name: str, control: str | None = None) -> str:
    """Name of a metric of chains of sub-tasks: `fixed`, `proportion` -> `eval/fixed_proportion`."""
    return f"eval/{control + '_' if control else ''}{start}_{name}"


CHAINS_SCORE_NAME = "sub-tasks completed"
"""What the `proportion` of chains is called where people read it."""
HELD_OUT_SCORE_NAME = "agreement with held-out actions"
"""The same of `held_out_metric("agreement")`."""


def held_out_metric(name: str, control: str | None = None) -> str:
    """Name of a metric of held-out episodes: `log_prob` -> `held_out/log_prob`."""
    return f"held_out/{control + '_' if control else ''}{name}"
