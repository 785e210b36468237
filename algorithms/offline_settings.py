"""Settings of what is learned offline. Frozen, typed, and strict: an unknown key is an error."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from algorithms.settings import NumGpus, PositiveFloat, PositiveInt, Settings


class PolicyNetworkSettings(Settings):
    """The network that sees an observation and reads an instruction; actor and critics have one each."""

    channels: PositiveInt = 32
    """Features of a grid's or a picture's convolutions."""
    hidden: tuple[PositiveInt, ...] = (256,)
    """Hidden layers behind them; also those of a flat observation."""
    instruction_size: PositiveInt = 64
    """Size of the vector that an instruction becomes; a multiple of 4."""
    history: PositiveInt = 1
    """Latest observations that the policy sees, this one included; before the first it sees the first again."""

    @model_validator(mode="after")
    def _heads_fit(self) -> "PolicyNetworkSettings":
        if self.instruction_size % 4:
            raise ValueError(f"instruction_size {self.instruction_size} is not a multiple of 4; use such as 64")
        if not self.hidden:
            raise ValueError("hidden is empty; give one layer at least, such as [256]")
        return self


class IQLSettings(Settings):
    """Implicit Q-learning conditioned on language. The defaults are those of SPRINT's public code (`pretrain.py`)."""

    actor_loss: Literal["advantage_weighted", "cloning"] = "advantage_weighted"
    """`advantage_weighted`: IQL. `cloning`: imitate every recorded action alike, the control that sees no reward."""
    expectile: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.8
    """q of the expectile loss: 0.5 is the mean over recorded actions, towards 1 the best of them."""
    beta: PositiveFloat = 5.0
    """Exponent of the advantage in the actor's weights exp(beta * advantage): larger imitates fewer actions."""
    largest_weight: Annotated[float, Field(ge=1.0)] = 100.0
    """The actor's weights are cut here."""
    discount: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.97
    """Discount per step."""
    tau: Annotated[float, Field(gt=0.0, le=1.0)] = 0.005
    """Polyak step of the target critics, taken after every update."""
    learning_rate: PositiveFloat = 1e-4
    """AdamW step size of actor, critics and value."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.1
    """Decoupled weight decay of AdamW."""
    batch_size: PositiveInt = 64
    """Transitions in an update."""
    network: PolicyNetworkSettings = PolicyNetworkSettings()
    """Actor and critics alike."""
    num_gpus: NumGpus | None = None
    """GPUs (or a fraction of one) for the RLlib learner, which then is an actor of its own; 0: it learns in the run's
    own process. Absent: a share of a GPU where the cluster has one that is not all taken, else as with 0."""
