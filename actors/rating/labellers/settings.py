"""Settings of labellers. Importing them loads no model code."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from algorithms.progress import ValueUse
from algorithms.settings import Fraction, LevelSettings, PositiveInt, RewardModelSettings, Settings

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Text = Annotated[str, Field(min_length=1)]
Seed = Annotated[int, Field(ge=0)]
NumFrames = Annotated[int, Field(ge=2, le=64)]


class RgVlmLabeller(Settings):
    """RG-VLM: windows of actions, scored by the rater. Its settings stand beside this block."""

    kind: Literal["rg_vlm"] = "rg_vlm"
    """Which labeller."""


class DeviceSettings(Settings):
    """A model of the labeller's own, run in the labelling process."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU where there is one."""


class ModelSettings(DeviceSettings):
    """A similarity model that transformers knows."""

    model: Text
    """A local folder, or a hub name; its weights must be safetensors."""
    revision: str | None = None
    """Hub revision; pin it for a reproducible study."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Precision of the weights; `auto` is the checkpoint's, or, where a processor has only half of it, its faster
    one."""


class ClipLabeller(ModelSettings):
    """Similarity of each frame to the instruction, as in VLM-RM (Rocamonde et al. 2023, arXiv 2310.12921)."""

    kind: Literal["clip"] = "clip"
    """Which labeller."""
    model: Text = "openai/clip-vit-large-patch14"
    """A CLIP: a local folder, or a hub name."""
    alpha: Fraction = 0.5
    """Strength of goal-baseline regularisation; 0 is plain cosine similarity, 1 keeps the line from baseline to goal
    only (VLM-RM's example: 0.5; RG-VLM does not tell what it used)."""
    baseline: Text = "an agent in a room"
    """What a frame shows whatever the goal is."""
    batch_size: PositiveInt = 64
    """Frames looked at together."""
    reward: ValueUse = "level"
    """`level`: an action earns the similarity of the frame that it led to (published). `difference`: what it added."""


class Blip2Labeller(ModelSettings):
    """Similarity of each frame to the instruction by BLIP-2 (Li et al. 2023, arXiv 2301.12597)."""

    kind: Literal["blip2"] = "blip2"
    """Which labeller."""
    model: Text = "Salesforce/blip2-itm-vit-g"
    """A BLIP-2 for retrieval: a local folder, or a hub name."""
    head: Literal["itc", "itm"] = "itc"
    """`itc`: cosine similarity, of the best of the queries. `itm`: probability that picture and text match. RG-VLM does
    not tell which it used."""
    batch_size: PositiveInt = 16
    """Frames looked at together."""
    reward: ValueUse = "level"
    """`level`: an action earns the similarity of the frame that it led to. `difference`: what it added."""


class VideoLabeller(ModelSettings):
    """Similarity of the whole trajectory to the instruction, paid to the last action, as in RoboCLIP (Sontakke et al.
    2023, arXiv 2310.07899), by X-CLIP in place of S3D."""

    kind: Literal["video"] = "video"
    """Which labeller."""
    model: Text = "microsoft/xclip-base-patch32"
    """An X-CLIP: a local folder, or a hub name. It says how many frames it looks at."""


class RoboClipLabeller(DeviceSettings):
    """Similarity of the whole trajectory to the instruction, paid to the last action: RoboCLIP (Sontakke et al. 2023,
    arXiv 2310.07899), by the S3D of HowTo100M, whose two files you download yourself."""

    kind: Literal["roboclip"] = "roboclip"
    """Which labeller."""
    weights: Path
    """`s3d_howto100m.pth`."""
    words: Path
    """`s3d_dict.npy`."""
    num_frames: Annotated[int, Field(ge=16, multiple_of=2)] = 32
    """Frames looked at, evenly spread (RoboCLIP: 32)."""
    frame_px: Annotated[int, Field(ge=32, multiple_of=2)] = 250
    """Side of the middle square that is looked at (RoboCLIP: 250); smaller frames are enlarged."""
    pixel_values: Literal["byte", "unit"] = "byte"
    """`byte`: 0 to 255, as RoboCLIP's code gives them. `unit`: 0 to 1, as S3D was trained."""
    similarity: Literal["dot", "cosine"] = "dot"
    """`dot`: the product of the two embeddings, of any size (published). `cosine`: 1 at most."""


class GvlLabeller(Settings):
    """The rater's percentages of completion of shuffled frames: GVL (Ma et al. 2024, arXiv 2411.04549)."""

    kind: Literal["gvl"] = "gvl"
    """Which labeller."""
    num_frames: NumFrames = 16
    """Frames shown of a trajectory at most, evenly spread; between them values lie on straight lines."""
    shuffled: bool = True
    """Show the frames after the first in random order (published). False: in time order, the ablation."""
    seed: Seed = 0
    """Decides the order, with the episode's id."""
    reward: ValueUse = "difference"
    """`difference`: an action earns what it added to the percentage. `level`: the percentage that it led to."""


class TopRewardLabeller(Settings):
    """The rater's probability of "True" for growing beginnings of a trajectory: TOPReward (arXiv 2602.19313)."""

    kind: Literal["topreward"] = "topreward"
    """Which labeller."""
    stride: PositiveInt = 8
    """A question for every so many actions, and one at each end; between them values lie on straight lines. 8 costs
    about as many questions as RG-VLM."""
    num_frames: NumFrames = 8
    """Frames shown of a beginning at most, evenly spread."""
    reward: ValueUse = "difference"
    """`difference`: an action earns what it added to the probability. `level`: the probability that it led to."""


class RandomLabeller(Settings):
    """The control that the paper lacks: rewards without content, as large on average as another labeller's."""

    kind: Literal["random"] = "random"
    """Which labeller."""
    mean_of: Name
    """A labeller whose column the data set has. Rewards are uniform between 0 and twice its mean, where it has one."""
    seed: Seed = 0
    """Decides the rewards, with the episode's id."""


class TruthLabeller(Settings):
    """The control that shows what right scores would be worth, and how right they must be: the simulator's own account
    of what each action did, with so many of the scores made wrong. Privileged: no rater has it, no policy may."""

    kind: Literal["truth"] = "truth"
    """Which labeller."""
    scale: Literal["binary", "graded"] = "graded"
    """Scores like a rater's. `graded`: 10 for an action that ended or shortened the way, 0 where it lengthened it, 5
    for one that did neither. `binary`: 10 for the first, 0 for both others."""
    wrong_share: Fraction = 0.0
    """Share of scores that are replaced by another one of the scale, drawn evenly."""
    seed: Seed = 0
    """Decides which scores are wrong, with the episode's id."""


class RecordedRewardModelSettings(RewardModelSettings):
    """The reward model of a recording: it learns in one session, in the labelling process."""

    network: Literal["published", "small"] = "small"
    """Frame network: `published` (convs 16/32/64/128 for 224 pixels) or `small` (for 56 pixels and a processor)."""
    image_px: PositiveInt = 56
    """Side of the image that it sees. Frames are reduced to that square, whatever their shape."""
    batch_size: PositiveInt = 64
    """Ratings in a batch."""
    max_epochs: PositiveInt = 100
    """Passes over all ratings at most."""

    @model_validator(mode="after")
    def _of_recordings(self) -> "RecordedRewardModelSettings":
        if self.input != "frame" or self.reward_scale == "standardised":
            raise ValueError("of recordings it sees frames, and reward_scale is raw or rated_range: leave others out")
        means_nothing = {"frame_cache_gb", "accelerator_type", "resources", "preference_loss"} & self.model_fields_set
        if means_nothing:
            raise ValueError(
                f"{min(means_nothing)} means nothing here: it learns levels, in the labelling process; leave it out"
            )
        return self


class LikertLabeller(LevelSettings):
    """Rewards learned from ratings: ERL-VLM (Luu et al. 2025, arXiv 2506.12822) on recordings. A budget of moments is
    rated on a Likert scale, and a reward model of each instruction learns from that and scores every frame."""

    kind: Literal["likert"] = "likert"
    """Which labeller."""
    budget: PositiveInt = 1_000
    """Ratings asked of the whole set at most; each instruction has an equal share (ERL-VLM on ALFRED: 75 each)."""
    show: Literal["frame", "segment", "trajectory"] = "frame"
    """What one rating looks at: a frame, some frames of `num_actions` actions in a row, or of a whole episode."""
    num_frames: NumFrames = 4
    """Frames shown of a segment or an episode, evenly spread, side by side in one picture."""
    num_actions: PositiveInt = 8
    """Length of a segment."""
    focus: Text = "the scene"
    """What the rater is told to look at, such as `the drawer`."""
    held_out_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Of the ratings, those that the reward model does not learn from, but is compared with."""
    control: Literal["none", "shuffled"] = "none"
    """`shuffled` deals the ratings out anew: the control whose reward must mean nothing."""
    seed: Seed = 0
    """Draws what is rated, and the networks."""
    reward_model: RecordedRewardModelSettings = RecordedRewardModelSettings()
    """The reward model and how it learns from ratings."""

    @model_validator(mode="after")
    def _frames_fit(self) -> "LikertLabeller":
        if self.show == "segment" and self.num_frames > self.num_actions:
            raise ValueError(f"num_frames {self.num_frames} is above num_actions {self.num_actions}: lower it")
        return self


LabellerSettings = Annotated[
    RgVlmLabeller
    | ClipLabeller
    | Blip2Labeller
    | VideoLabeller
    | RoboClipLabeller
    | GvlLabeller
    | TopRewardLabeller
    | RandomLabeller
    | TruthLabeller
    | LikertLabeller,
    Field(discriminator="kind"),
]
