"""Settings of what is learned. Frozen, typed, and strict: an unknown key is an error."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from algorithms.pixel_frames import PixelShape

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]


def _whole_above_one(num_gpus: float) -> float:
    if num_gpus > 1.0 and num_gpus != int(num_gpus):
        raise ValueError(f"{num_gpus:g} GPUs can not be had: a fraction is of one GPU; above 1 use whole numbers")
    return num_gpus


NumGpus = Annotated[float, Field(ge=0.0), AfterValidator(_whole_above_one)]
"""GPUs of an actor: a share of one, or whole ones."""


class Settings(BaseModel):
    """Base of every settings block; the text under a field is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class SegmentSettings(Settings):
    """What one rating looks at."""

    kind: Literal["frame", "trajectory", "episode"] = "frame"
    """`frame`: one image. `trajectory`: `num_frames` images spread over `num_agent_steps` agent steps. `episode`: as
    many spread evenly over a whole episode that has ended, whatever its length."""
    num_frames: PositiveInt = 1
    """Images shown for a trajectory or an episode; 1 for a frame. A single one of an episode is its last; an episode of
    fewer steps shows some of them twice."""
    num_agent_steps: PositiveInt = 1
    """Length of a trajectory segment in agent steps."""
    last_agent_steps: PositiveInt | None = None
    """Of an `episode`, only so many agent steps at its end count as the segment. Absent: all."""
    layout: Literal["separate", "joined"] = "separate"
    """Show several images as they are, or as one picture with numbered frames side by side."""

    @model_validator(mode="after")
    def _frames_fit(self) -> "SegmentSettings":
        if self.kind == "frame" and (self.num_frames, self.num_agent_steps) != (1, 1):
            raise ValueError("a segment of kind 'frame' has num_frames 1 and num_agent_steps 1; use kind 'trajectory'")
        if self.kind == "trajectory" and not 2 <= self.num_frames <= self.num_agent_steps:
            raise ValueError("a trajectory needs 2 <= num_frames <= num_agent_steps")
        if self.kind == "episode" and self.num_agent_steps != 1:
            raise ValueError(
                f"num_agent_steps {self.num_agent_steps}: a segment of kind 'episode' is as long as its episode; leave "
                "it out, or say by last_agent_steps how much of the end counts"
            )
        if self.last_agent_steps is not None and self.kind != "episode":
            raise ValueError(f"last_agent_steps is of segments of kind 'episode', and this is a '{self.kind}'")
        if self.last_agent_steps is not None and self.last_agent_steps < self.num_frames:
            raise ValueError(
                f"last_agent_steps {self.last_agent_steps} is below num_frames {self.num_frames}: there are not so many"
            )
        return self


class FeedbackSettings(Settings):
    """When ratings are asked, how many, and about what."""

    num_ratings: Literal[2, 3, 4, 5] = 3
    """Levels n of the Likert scale."""
    first_env_steps: PositiveInt = 10_000
    """Environment steps before the first feedback session."""
    interval_env_steps: PositiveInt = 5_000
    """Environment steps between feedback sessions."""
    per_session: PositiveInt = 50
    """Ratings asked in one session."""
    first_session: PositiveInt | None = None
    """Ratings asked in the first session; `per_session` if absent."""
    budget: PositiveInt = 10_000
    """Ratings asked in the whole run at most."""
    segment: SegmentSettings = SegmentSettings()
    """What one rating looks at."""
    recent_episodes: PositiveInt = 100
    """Segments are drawn from this many latest episodes (ERL-VLM: 100)."""
    newest_share: Fraction = 0.0
    """Share of a session drawn from the episodes collected since the last session; 0 is uniform, as published."""
    max_rating_lag: Annotated[int, Field(ge=0)] = 0
    """Rounds that ratings may arrive late. 0 waits for them: exact and repeatable."""
    tolerated_failure_share: Fraction = 0.2
    """The run stops with a message if more than this share of a session's questions fail."""
    control: Literal["none", "shuffled"] = "none"
    """`shuffled` permutes each session's ratings among its segments: the control that must not learn."""

    @model_validator(mode="after")
    def _budget_holds_a_session(self) -> "FeedbackSettings":
        largest = max(self.per_session, self.first_session or 0)
        if self.budget < largest:
            raise ValueError(
                f"budget {self.budget} is below one session of {largest}; raise budget or lower per_session"
            )
        if self.segment.kind == "episode" and self.recent_episodes < largest:
            raise ValueError(
                f"recent_episodes {self.recent_episodes} is below one session of {largest}, and with segments of kind "
                "'episode' each of them is asked about once; raise recent_episodes or lower per_session"
            )
        return self


class RewardModelSettings(Settings):
    """The reward model and how it learns from ratings."""

    input: Literal["frame", "state"] = "frame"
    """`frame`: a convolutional network on the rendered image. `state`: a multi-layer perceptron on the observation."""
    network: Literal["published", "small"] = "published"
    """Frame network: `published` (convs 16/32/64/128 for 224 pixels) or `small` (for 56 pixels and a processor)."""
    image_px: PositiveInt = 224
    """Side of the image that the frame network sees; rendered frames are reduced to it."""
    hidden: tuple[PositiveInt, ...] = (256, 256)
    """Hidden layers of the state network."""
    num_members: PositiveInt = 3
    """Ensemble size; the reward is the members' mean."""
    reward_scale: Literal["raw", "rated_range", "standardised"] = "rated_range"
    """The rating loss leaves each member's scale and offset free. `raw`: outputs as they are, near a thousandth
    (reference code). `rated_range` maps a member's lowest and highest output on rated inputs to 0 and 1, and cuts
    there. `standardised`: then mean 0 and deviation 1 over the replay, at each relabelling."""
    loss: Literal["mae", "cross_entropy"] = "mae"
    """Mean absolute error (ERL-VLM, robust) or cross-entropy (RbRL)."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of each label's mass spread evenly over all levels that occur in the batch."""
    sharpness: PositiveFloat = 30.0
    """k in the class logits -k (R - b_i)(R - b_(i+1))."""
    class_weights: Literal["none", "complement"] = "complement"
    """`complement`: weight (N - n_c) / N divided by its minimum, as in the reference code."""
    stratified: Literal["off", "balanced", "proportional"] = "balanced"
    """`balanced`: every batch holds each present level equally often. `proportional`: the reference's partition."""
    learning_rate: PositiveFloat = 3e-4
    """Adam step size."""
    batch_size: PositiveInt = 512
    """Ratings in a batch."""
    max_epochs: PositiveInt = 10
    """Passes over all ratings in one session at most."""
    min_epochs: PositiveInt = 2
    """Passes made before `target_accuracy` may stop the session."""
    target_accuracy: Fraction = 0.97
    """A session's training stops once the mean training accuracy is above this."""
    frame_cache_gb: Annotated[float, Field(ge=0.0)] = 4.0
    """Memory for reduced frames kept for relabelling; what does not fit is rendered again from its state."""
    num_gpus: NumGpus | None = None
    """GPUs (or a fraction of one) that the learner actor takes; 0: it learns on a processor. Absent: a share of a GPU
    where the cluster has one that is not all taken, else a processor."""
    accelerator_type: str | None = None
    """Kind of GPU that the learner actor needs, as Ray names it, such as `A100` or `L4`."""
    resources: dict[str, float] = Field(default_factory=dict)
    """Custom Ray resources that the learner actor needs, to place it on certain nodes."""

    @model_validator(mode="after")
    def _epochs_in_order(self) -> "RewardModelSettings":
        if self.min_epochs > self.max_epochs:
            raise ValueError(f"min_epochs {self.min_epochs} is above max_epochs {self.max_epochs}")
        return self


class PolicySettings(Settings):
    """Soft actor-critic on the learned reward (Haarnoja et al. 2018), as RLlib algorithm."""

    observation: Literal["state", "pixels", "pixels_and_state"] = "state"
    """What the policy sees: the environment's numbers, pictures of it, or both."""
    image_px: PositiveInt = 84
    """Side of the pictures that the policy sees; frames are reduced to it. This and the next four are for policies that
    see pictures."""
    frame_stack: PositiveInt = 3
    """Latest frames that it sees at once; one frame shows no motion."""
    convolutions: tuple[tuple[PositiveInt, PositiveInt, PositiveInt], ...] = (
        (32, 3, 2), (32, 3, 1), (32, 3, 1), (32, 3, 1),
    )  # fmt: skip
    """Channels, kernel and stride of each layer of the encoder that actor and critics share. The default is DrQ-v2's;
    [[32, 8, 4], [64, 4, 2], [64, 3, 1]] is four times as fast."""
    num_features: PositiveInt = 50
    """Numbers that actor and critics each make of what the encoder gives (DrQ-v2: 50)."""
    random_shift_px: Annotated[int, Field(ge=0)] = 4
    """In learning each picture is moved at random by up to as many pixels (DrQ-v2: 4); 0 leaves them."""
    hidden: tuple[PositiveInt, ...] = (256, 256, 256)
    """Hidden layers of actor and critics."""
    actor_learning_rate: PositiveFloat = 3e-4
    """Adam step size of the actor."""
    critic_learning_rate: PositiveFloat = 3e-4
    """Adam step size of the critics."""
    temperature_learning_rate: PositiveFloat = 1e-4
    """Adam step size of the entropy temperature."""
    initial_temperature: PositiveFloat = 0.1
    """Entropy temperature at the start."""
    target_entropy: float | Literal["auto"] = "auto"
    """Target entropy in nats; `auto` is minus the number of action dimensions."""
    discount: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.99
    """Discount per agent step."""
    tau: Annotated[float, Field(gt=0.0, le=1.0)] = 0.005
    """Polyak step of the target critics."""
    target_update_interval: PositiveInt = 2
    """Updates between two Polyak steps."""
    batch_size: PositiveInt = 512
    """Transitions in an update."""
    updates_per_agent_step: PositiveFloat = 1.0
    """Gradient updates for each agent step collected."""
    replay_capacity: PositiveInt = 200_000
    """Agent steps that the replay holds."""
    seed_env_steps: Annotated[int, Field(ge=0)] = 1_000
    """Environment steps of uniformly random actions at the start."""
    unsupervised_env_steps: Annotated[int, Field(ge=0)] = 9_000
    """Environment steps of state-entropy exploration after them (PEBBLE). A policy that sees pictures alone takes two
    states for alike if a network that was drawn at random and is never trained finds their pictures alike (RE3)."""
    entropy_neighbours: PositiveInt = 5
    """k of the k-nearest-neighbour entropy estimate."""
    entropy_dimensions: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Entries of the observation whose entropy counts, such as the hand's and the object's position; empty: all."""
    reset_critic: bool = True
    """Start the critics anew once the first reward model exists."""
    critic_reset_updates: Annotated[int, Field(ge=0)] = 100
    """Extra updates right after that reset."""
    normalise_observations: bool = False
    """Scale observations by the mean and deviation of the seed steps, and keep that scaling."""
    num_gpus: NumGpus | None = None
    """GPUs (or a fraction of one) for the RLlib learner, which then is an actor of its own; 0: it learns in the run's
    own process. Absent: a share of a GPU where the cluster has one that is not all taken, else as with 0."""
    accelerator_type: str | None = None
    """Kind of GPU that the learner needs, as Ray names it."""
    resources: dict[str, float] = Field(default_factory=dict)
    """Custom Ray resources that the learner needs, to place it on certain nodes."""

    @property
    def pixel_shape(self) -> PixelShape | None:
        """What a policy of pictures sees; None for one that sees the environment's numbers alone."""
        if self.observation == "state":
            return None
        return PixelShape(
            self.image_px,
            self.frame_stack,
            self.convolutions,
            self.num_features,
            self.random_shift_px,
            sees_state=self.observation == "pixels_and_state",
        )

    @model_validator(mode="after")
    def _pictures_fit(self) -> "PolicySettings":
        shape = self.pixel_shape
        if shape is None:
            for name in ("image_px", "frame_stack", "convolutions", "num_features", "random_shift_px"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(
                        f"{name} is for policies that see pictures, and observation is 'state': set observation to "
                        f"'pixels' or 'pixels_and_state', or leave {name} out"
                    )
            return self
        if not self.convolutions:
            raise ValueError("convolutions is empty: name at least one layer, such as [[32, 3, 2]], or leave it out")
        if shape.convolved_px < 1:
            raise ValueError(
                f"image_px {self.image_px}: nothing is left of so small a picture after convolutions "
                f"{[list(layer) for layer in self.convolutions]}; raise it, or name other convolutions"
            )
        if self.random_shift_px >= self.image_px:
            raise ValueError(f"random_shift_px {self.random_shift_px} is not below image_px {self.image_px}")
        if not shape.sees_state and self.normalise_observations:
            raise ValueError(
                "normalise_observations scales numbers, and with observation 'pixels' the policy sees none: set it to "
                "false, or observation to 'pixels_and_state'"
            )
        if not shape.sees_state and self.entropy_dimensions:
            raise ValueError(
                "entropy_dimensions names numbers, and with observation 'pixels' exploration goes by pictures too: "
                "leave it out, or set observation to 'pixels_and_state'"
            )
        return self

    @model_validator(mode="after")
    def _placed_where_it_is_an_actor(self) -> "PolicySettings":
        if not self.num_gpus and (self.accelerator_type or self.resources):
            raise ValueError(
                "accelerator_type and resources place a learner with num_gpus above 0; with num_gpus 0 it learns in "
                "the run's own process. Set num_gpus, or leave them out"
            )
        return self
