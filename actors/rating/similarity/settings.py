"""Settings of the reward source `similarity`. Importing them loads no model code."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from algorithms.settings import Fraction, NumGpus, PositiveInt, Settings

POCKET_CLIP = "pocket_clip"
"""Name of the small CLIP that ships with the package."""
POCKET_CLIP_FOLDER = Path(__file__).parents[2] / "pocket" / "clip_checkpoint"
Text = Annotated[str, Field(min_length=1)]


class SimilaritySettings(Settings):
    """What frames are compared with, by which model, and what a step is paid for it."""

    method: Literal["vlm_rm", "roboclip"] = "vlm_rm"
    """`vlm_rm`: each step is paid how well its frame fits the goal's sentence, by CLIP with goal-baseline
    regularisation (VLM-RM, Rocamonde et al., ICLR 2024, arXiv 2310.12921). `roboclip`: the last step of an episode is
    paid how well the whole episode fits it, all others nothing (RoboCLIP, Sontakke et al., NeurIPS 2023, arXiv
    2310.07899)."""
    model: Text = POCKET_CLIP
    """`pocket_clip`, which ships with the package, a local folder, or a hub name such as
    `openai/clip-vit-large-patch14-336`: a CLIP; for `roboclip` also an X-CLIP such as `microsoft/xclip-base-patch32`.
    Weights must be safetensors."""
    revision: str | None = None
    """Hub revision; pin it for a reproducible study."""
    s3d_weights: Path | None = None
    """Of `roboclip`: `s3d_howto100m.pth`, the network that it was published with. You download it and `s3d_words`
    yourself; they take the place of `model`."""
    s3d_words: Path | None = None
    """`s3d_dict.npy`, the words that this network knows."""
    goal: Text | None = None
    """What the goal looks like, in a sentence that the model reads whole: CLIP cuts it after 77 tokens. Absent: the
    instruction, `task.instruction` or, where each episode has one of its own, that."""
    baseline: Text | None = None
    """Of `vlm_rm`: what a frame shows whatever has been achieved, as "a humanoid robot" does for "a humanoid robot
    kneeling" (VLM-RM's example). Absent: who acts and on what, `task.agent` and `task.focus`."""
    alpha: Fraction = 0.5
    """Of `vlm_rm`: strength of the regularisation. 0 is the cosine of frame and goal, 1 keeps only what lies on the
    line from baseline to goal (VLM-RM's example: 0.5)."""
    num_frames: Annotated[int, Field(ge=2, le=256)] = 32
    """Of `roboclip`: frames that stand for an episode, evenly spread, the last among them (RoboCLIP: 32). S3D needs an
    even number of at least 16; an X-CLIP takes its own."""
    scale: Annotated[float, Field(gt=0.0)] = 1.0
    """What a similarity is multiplied by (VLM-RM, RoboCLIP: 1; RL-VLM-F's CLIP score: 2)."""
    shift: float = 0.0
    """What is added then (VLM-RM, RoboCLIP: 0; RL-VLM-F's CLIP score: -1)."""
    batch_size: PositiveInt = 64
    """Frames looked at together."""
    num_gpus: NumGpus | None = None
    """GPUs (or a fraction of one) that the model takes; 0: it runs on a processor, in float32. Absent: a share of a GPU
    where the cluster has one that is not all taken, else a processor."""
    accelerator_type: str | None = None
    """Kind of GPU that the model needs, as Ray names it, such as `A100` or `L4`."""
    resources: dict[str, float] = Field(default_factory=dict)
    """Custom Ray resources that the model's actor needs, to place it on certain nodes."""

    @model_validator(mode="after")
    def _of_one_kind(self) -> "SimilaritySettings":
        files = {"s3d_weights": self.s3d_weights, "s3d_words": self.s3d_words}
        given = [name for name, path in files.items() if path is not None]
        if not given:
            return self
        if len(given) == 1:
            raise ValueError(f"{given[0]} is given without the other of {' and '.join(files)}: S3D needs both files")
        if self.method != "roboclip":
            raise ValueError(f"{given[0]}: S3D sees whole episodes, and method is {self.method!r}; set it to roboclip")
        if self.num_frames < 16 or self.num_frames % 2:
            raise ValueError(f"num_frames {self.num_frames}: S3D needs an even number of at least 16; RoboCLIP has 32")
        return self

    @property
    def model_name(self) -> str:
        """The model, for people."""
        return self.model if self.s3d_weights is None else f"S3D ({self.s3d_weights})"
