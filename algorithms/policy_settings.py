"""Settings of the policies of online runs: what all have, and a block for each algorithm.

A block without `algorithm` is of the first.
"""

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from algorithms.offline_settings import IQLSettings, PolicyNetworkSettings
from algorithms.pixel_frames import PixelShape
from algorithms.settings import NumGpus, PositiveFloat, PositiveInt, Settings

_IQL = IQLSettings()
SMALLEST_IMAGE_PX = 16
"""Pictures smaller than this leave nothing for the convolutions of a policy that reads."""


class PolicySettings(Settings):
    """What policies that act and learn have in common, by whichever algorithm."""

    algorithm: str
    """How it learns."""
    observation: Literal["state", "pixels", "pixels_and_state"] = "state"
    """What the policy sees: the environment's numbers, pictures of it, or both."""
    image_px: PositiveInt = 84
    """Side of the pictures that the policy sees; frames are reduced to it. For policies that see pictures."""
    frame_stack: PositiveInt = 3
    """Latest frames that it sees at once; one frame shows no motion. For policies that see pictures."""
    discount: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.99
    """Discount per agent step."""
    termination: Literal["ends", "stays"] = "ends"
    """What a step is worth that ends its episode for good. `ends`: its own reward. `stays`: that reward again and
    again, as if the agent stayed there. Rewards from ratings are not negative, so where reaching the goal ends the
    episode, `ends` makes it pay to wait beside the goal."""
    tau: Annotated[float, Field(gt=0.0, le=1.0)] = 0.005
    """Polyak step of the target critics."""
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

    of_pictures: ClassVar[tuple[str, ...]] = ("image_px", "frame_stack")
    """Settings that only policies of pictures have."""
    with_pictures: ClassVar[str] = "'pixels' or 'pixels_and_state'"
    """What `observation` may be for a policy that sees them."""
    with_numbers: ClassVar[str] = "'pixels_and_state'"
    """What it is for one that sees pictures, to see numbers."""

    @property
    @abstractmethod
    def pixel_shape(self) -> PixelShape | None:
        """What a policy of pictures sees; None for one that sees the environment's numbers alone."""

    @model_validator(mode="before")
    @classmethod
    def _of_this_algorithm(cls, given: Any) -> Any:
        known = cls.model_fields
        others = [other for other in PolicySettings.__subclasses__() if other is not cls]
        for other in others if isinstance(given, dict) else ():
            foreign = [name for name in given if name not in known and name in other.model_fields]
            if foreign:
                of_other, own = _algorithm_of(other), _algorithm_of(cls)
                alone = [name for name in known if name not in other.model_fields]
                one = len(foreign) == 1
                said = "is a setting" if one else "are settings"
                raise ValueError(
                    f"{', '.join(foreign)} {said} of algorithm {of_other!r}, and this one is {own!r}: leave "
                    f"{'it' if one else 'them'} out, or set policy.algorithm to {of_other!r}. What {own!r} has of its "
                    f"own: {', '.join(alone)}"
                )
        return given

    @model_validator(mode="after")
    def _pictures_fit(self) -> Self:
        shape = self.pixel_shape
        if shape is None:
            for name in self.of_pictures:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(
                        f"{name} is for policies that see pictures, and observation is 'state': set observation to "
                        f"{self.with_pictures}, or leave {name} out"
                    )
            return self
        if not shape.sees_state and self.normalise_observations:
            raise ValueError(
                "normalise_observations scales numbers, and with observation 'pixels' the policy sees none: set it to "
                f"false, or observation to {self.with_numbers}"
            )
        if not shape.sees_state and self.entropy_dimensions:
            raise ValueError(
                "entropy_dimensions names numbers, and with observation 'pixels' exploration goes by pictures too: "
                f"leave it out, or set observation to {self.with_numbers}"
            )
        return self

    @model_validator(mode="after")
    def _placed_where_it_is_an_actor(self) -> Self:
        if not self.num_gpus and (self.accelerator_type or self.resources):
            raise ValueError(
                "accelerator_type and resources place a learner with num_gpus above 0; with num_gpus 0 it learns in "
                "the run's own process. Set num_gpus, or leave them out"
            )
        return self


class SACSettings(PolicySettings):
    """Soft actor-critic on the learned reward (Haarnoja et al. 2018), as RLlib algorithm: for actions that are numbers,
    and tasks of one instruction."""

    algorithm: Literal["sac"] = "sac"
    """Soft actor-critic."""
    convolutions: tuple[tuple[PositiveInt, PositiveInt, PositiveInt], ...] = (
        (32, 3, 2), (32, 3, 1), (32, 3, 1), (32, 3, 1),
    )  # fmt: skip
    """Channels, kernel and stride of each layer of the encoder that actor and critics share. The default is DrQ-v2's;
    [[32, 8, 4], [64, 4, 2], [64, 3, 1]] is four times as fast. For policies that see pictures, as the next two."""
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
    target_update_interval: PositiveInt = 2
    """Updates between two Polyak steps."""

    of_pictures: ClassVar[tuple[str, ...]] = (
        *PolicySettings.of_pictures, "convolutions", "num_features", "random_shift_px",
    )  # fmt: skip

    @property
    def pixel_shape(self) -> PixelShape | None:
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
    def _encoder_fits(self) -> Self:
        shape = self.pixel_shape
        if shape is None:
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
        return self


class OnlineIQLSettings(PolicySettings):
    """Implicit Q-learning on the learned reward, conditioned on the instruction, from a replay that grows: for actions
    that are choices or numbers. What it shares with the offline learner has that one's defaults."""

    algorithm: Literal["iql"]
    """Implicit Q-learning."""
    discount: Annotated[float, Field(gt=0.0, lt=1.0)] = _IQL.discount
    """Discount per agent step."""
    termination: Literal["ends", "stays"] = "stays"
    """What a step is worth that ends its episode for good. `stays`: its reward again and again, as if the agent stayed
    there. `ends`: that reward once, with which it pays to wait beside a goal that ends the episode, since rewards from
    ratings are not negative."""
    batch_size: PositiveInt = _IQL.batch_size
    """Transitions in an update."""
    expectile: Annotated[float, Field(ge=0.5, lt=1.0)] = _IQL.expectile
    """q of the expectile loss: 0.5 is the mean over the actions in the replay, towards 1 the best of them."""
    beta: PositiveFloat = _IQL.beta
    """Exponent of the advantage in the actor's weights exp(beta * advantage): larger imitates fewer actions."""
    largest_weight: Annotated[float, Field(ge=1.0)] = _IQL.largest_weight
    """The actor's weights are cut here."""
    entropy_bonus: Annotated[float, Field(ge=0.0)] = 0.0
    """Weight of the policy's entropy (in nats) in the actor's loss: it keeps actions from becoming certain too early.
    0: as published, for learning from recordings."""
    exploration_temperature: PositiveFloat = 1.0
    """While experience is collected, choices are drawn from softmax(logits / this), and the deviation of actions that
    are numbers is multiplied by it. Evaluations take the likeliest action."""
    learning_rate: PositiveFloat = _IQL.learning_rate
    """AdamW step size of actor, critics and value."""
    weight_decay: Annotated[float, Field(ge=0.0)] = _IQL.weight_decay
    """Decoupled weight decay of AdamW."""
    network: PolicyNetworkSettings = PolicyNetworkSettings()
    """Actor and critics alike. The settings `channels`, `hidden` and `instruction_size`."""
    num_words: Annotated[int, Field(ge=2)] = 1024
    """Ids that words have, one of which means none. Instructions are not known before a run, so a word's id is a hash
    of it: of 30 different words in 1,023 ids, one pair in three runs shares one."""
    instruction_length: PositiveInt = 32
    """Words and punctuation marks of an instruction at most."""

    with_pictures: ClassVar[str] = "'pixels'"
    with_numbers: ClassVar[str] = "'state'"

    @property
    def pixel_shape(self) -> PixelShape | None:
        if self.observation == "state":
            return None
        return PixelShape(self.image_px, self.frame_stack, (), 0, 0, sees_state=False)

    @model_validator(mode="after")
    def _networks_see_it(self) -> Self:
        if self.observation == "pixels_and_state":
            raise ValueError(
                "observation 'pixels_and_state': the networks that read an instruction see numbers or pictures, not "
                "both; set it to 'state' or 'pixels'"
            )
        if self.observation == "pixels" and self.image_px < SMALLEST_IMAGE_PX:
            raise ValueError(f"image_px {self.image_px}: at least {SMALLEST_IMAGE_PX} for a policy of algorithm 'iql'")
        if self.network.history != 1:
            raise ValueError(
                f"network.history {self.network.history} is for learning from recordings: leave it out; pictures are "
                "stacked by frame_stack, and of numbers and grids the newest alone is seen"
            )
        return self


def _algorithm_of(settings: type[PolicySettings]) -> str:
    (name,) = settings.model_fields["algorithm"].annotation.__args__
    return name


def _named(given: Any) -> Any:
    return {"algorithm": _algorithm_of(SACSettings)} | given if isinstance(given, dict) else given


AnyPolicy = Annotated[
    Annotated[SACSettings | OnlineIQLSettings, Field(discriminator="algorithm")],
    BeforeValidator(_named),
]
"""The field `policy` of an experiment."""
