"""Settings of what is learned. Frozen, typed, and strict: an unknown key is an error."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]

ImportPath = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*$")]
"""Of what Python can import: package.module:name."""


def _whole_above_one(num_gpus: float) -> float:
    if num_gpus > 1.0 and num_gpus != int(num_gpus):
        raise ValueError(f"{num_gpus:g} GPUs can not be had: a fraction is of one GPU; above 1 use whole numbers")
    return num_gpus


NumGpus = Annotated[float, Field(ge=0.0), AfterValidator(_whole_above_one)]
"""GPUs of an actor: a share of one, or whole ones."""


class Settings(BaseModel):
    """Base of every settings block; the text under a field is its documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class RewardSettings(Settings):
    """Where the reward that the policy learns from comes from."""

    source: Literal["ratings", "preferences", "scores", "similarity", "sparse", "environment"] | ImportPath = "ratings"
    """`ratings`: a reward model that learns from them (ERL-VLM). `preferences`: the rater says which of two frames is
    nearer to the goal, or that it cannot tell, and a reward model learns from that (RL-VLM-F). `scores`: what the rater
    says of frames is the reward itself, and nothing else is learned. `similarity`: how well pictures fit a sentence, by
    CLIP (block `similarity`); nobody is asked. Privileged, for comparison, since the world itself must tell: `sparse`,
    1 for a step with success and else 0; `environment`, the world's own reward. `module:function`: one written by hand,
    from a chunk of an episode to the reward of each of its steps. Blocks that a source does not need are not looked
    at."""
    every_agent_steps: PositiveInt = 5
    """Of `scores`, and of `similarity` by `vlm_rm`: the last frame of so many agent steps is looked at, or of fewer
    where a round or an episode ends, and what is said of it holds for each of them. 1 looks at every frame."""


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


class LevelSettings(Settings):
    """On how many levels is asked, and what of the answers is learned."""

    num_ratings: Literal[2, 3, 4, 5] = 3
    """Levels n of the Likert scale."""
    asked_levels: Literal[2, 3, 4, 5] | None = None
    """Levels that the rater is asked on, if more than `num_ratings`, which are made of them: by its probabilities where
    it tells them, in equal parts from worst to best. So one store serves experiments of 2 to 5 levels. Absent: asked on
    `num_ratings`."""
    labels: Literal["hard", "soft"] = "hard"
    """What the reward model is to say of a segment. `hard`, as published: the level that the rater chose. `soft`: with
    which probability it would have chosen each; a rating without probabilities is hard. Of preferences likewise."""
    label_temperature: Annotated[float, Field(ge=0.05, le=20.0)] = 1.0
    """Of `soft` labels and of levels made of finer ones: above 1 the rater's probabilities are taken for less sure than
    it says, below 1 for surer. `likert consistency` fits it where true levels are known."""

    @model_validator(mode="after")
    def _asked_as_finely_as_learned(self) -> "LevelSettings":
        if self.asked_levels is not None and self.asked_levels < self.num_ratings:
            raise ValueError(
                f"asked_levels {self.asked_levels} is below num_ratings {self.num_ratings}: levels are made of finer "
                "ones; raise it, or leave it out"
            )
        return self

    @property
    def num_asked(self) -> int:
        """Levels that the rater may answer."""
        return self.asked_levels or self.num_ratings


class SelectionSettings(Settings):
    """Which segments, or pairs, of the collected experience are asked about."""

    strategy: Literal["uniform", "disagreement", "doubt", "novelty"] = "uniform"
    """`uniform`, as published: drawn at random, and the rest of this block is not looked at. Else several candidates
    are drawn so for each question, and some of these are picked. `disagreement`: of whose answer the reward model's
    members contradict each other most. `doubt`: whose answer the reward model as a whole is least sure of. `novelty`:
    whose observations are farthest from those of segments that were rated, and from each other's. Before the reward
    model has learned anything, only novelty can be told, and the others draw at random."""
    candidates: Annotated[int, Field(ge=2, le=1000)] = 5
    """Candidates drawn for each question. Their pictures are drawn too."""
    uniform_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.3
    """Share of a session's questions drawn at random from the candidates that were not picked. It bounds how much what
    was picked can bias what is learned, with or without weights."""
    weights: Literal["importance", "none"] = "importance"
    """`importance`: in the loss each answer counts one over the probability with which its segment was asked about, so
    that on average the loss is that of uniform questions: most of what was picked counts 1 / `candidates`, and the rest
    less than 1 / `uniform_share`. `none`: all count alike."""


class CanarySettings(Settings):
    """Questions with a known answer, by which a change of the rater shows: what the run had rated first is asked again
    before each later session, and pictures of known levels before each. They cost nothing of the budget, and nothing
    is learned from them."""

    number: Annotated[int, Field(ge=0, le=1000)] = 0
    """The first ratings of the run that are asked again; 0: none."""
    tolerated_share: Fraction = 0.2
    """If more than this share of them is answered otherwise than at first, the rater has drifted."""
    known: str | None = None
    """A folder of pictures whose level is known, or its address: in it a folder for each level on which is asked, `1`
    for the worst, `2` and so on, with PNG files. For questions about single frames."""
    tolerated_wrong_share: Fraction = 0.2
    """If more than this share of them is answered otherwise, the rater is wrong too often."""
    on_drift: Literal["warn", "stop"] = "warn"
    """Of either. `warn`: say so and go on. `stop`: the run stops before it asks anything else; it is saved and can go
    on."""


class MistakeSettings(Settings):
    """Mistakes put into the rater's answers on purpose, to study what a worse rater would lead to. The store keeps what
    it said; what learns, and what is told of the ratings, has the mistakes."""

    share: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    """Share of the answers in whose place another level counts, each as likely; of preferences, the other frame."""
    confidence: Literal["sure", "doubtful"] = "sure"
    """`sure`: the wrong level is as probable as the right one was. `doubtful`: the rater knows where it guesses, in
    twice as many answers as are wrong; there two levels share the probability, at least half on the answer."""


class PeopleSettings(Settings):
    """What people say of the run's questions, in `likert gallery` on its rating store, in what the reward model learns
    from. Each session hears what is there by then, of questions of all sessions so far."""

    use: Literal["ignore", "replace", "weigh"] = "ignore"
    """`ignore`: it is for the eyes of people alone. `replace`: where people said a level, theirs stands in place of the
    rater's. `weigh`: theirs counts beside the rater's. Of several people, and of both sides, a soft label is the mean,
    and a hard one the likeliest level of it, of equally likely ones the lower. Of each person the latest opinion
    counts; who passes or cannot tell says nothing."""
    weight: PositiveFloat = 1.0
    """With `weigh`: what one person counts where the rater counts 1."""


class FeedbackSettings(LevelSettings):
    """When ratings are asked, how many, and about what."""

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
    selection: SelectionSettings = SelectionSettings()
    """Which of the segments there are."""
    canaries: CanarySettings = CanarySettings()
    """Whether the rater still answers as it did."""
    people: PeopleSettings = PeopleSettings()
    """Whether people's ratings count."""
    analyse_below: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """With `rater.mode: two_turn`: the rater first answers in one turn, and analyses only what its likeliest answer is
    less probable than this for, or what it gave no probabilities for; that answer counts then. Absent: it analyses
    all."""
    recent_episodes: PositiveInt = 100
    """Segments are drawn from this many latest episodes (ERL-VLM: 100)."""
    newest_share: Fraction = 0.0
    """Share of a session drawn from the episodes collected since the last session; 0 is uniform, as published."""
    ask_again: bool = False
    """Whether a segment may be rated whose pictures this run has had rated before, as published. False: another is
    drawn in its place, so that no rating of the budget is spent twice; what other runs asked changes nothing."""
    explore_until_two_levels: bool = True
    """As long as all ratings are of one level there is nothing to learn from them: the reward model waits, and the
    policy goes on exploring by state entropy. False, as published: it learns at once, and the reward is zero."""
    max_rating_lag: Annotated[int, Field(ge=0)] = 0
    """Rounds that ratings may arrive late. 0 waits for them: exact and repeatable."""
    tolerated_failure_share: Fraction = 0.2
    """The run stops with a message if more than this share of a session's questions fail."""
    control: Literal["none", "shuffled", "true_stage"] = "none"
    """`shuffled` deals all ratings out anew among their segments: the control that must not learn. `true_stage`,
    privileged: the world's own stage of the last frame shown counts in place of the rater's level, which is asked for
    all the same; what then still fails is not the rater's fault."""
    mistakes: MistakeSettings = MistakeSettings()
    """Mistakes put into the answers on purpose."""

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
    """Frame network: `published` (convs 16/32/64/128 for 224 pixels) or `small` (for 56 pixels and a processor). Where
    each episode has an instruction of its own, a network that reads it takes its place."""
    image_px: PositiveInt = 224
    """Side of the image that the frame network sees; rendered frames are reduced to it."""
    hidden: tuple[PositiveInt, ...] = (256, 256)
    """Hidden layers of the state network, and of one that reads the instruction."""
    num_members: PositiveInt = 3
    """Ensemble size; the reward is the members' mean."""
    reward_scale: Literal["raw", "rated_range", "standardised"] = "rated_range"
    """The rating loss leaves each member's scale and offset free. `raw`: outputs as they are, near a thousandth
    (reference code). `rated_range` maps a member's lowest and highest output on rated inputs to 0 and 1, and cuts
    there. `standardised`: then mean 0 and deviation 1 over the replay, at each relabelling."""
    loss: Literal["mae", "cross_entropy"] = "mae"
    """Mean absolute error (ERL-VLM, robust) or cross-entropy (RbRL)."""
    preference_loss: Literal["mae", "cross_entropy"] = "cross_entropy"
    """The same of `reward.source: preferences`; cross-entropy is the published one (RL-VLM-F)."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of each label's mass spread evenly over all levels that occur in the batch; over both of a pair."""
    sharpness: PositiveFloat = 30.0
    """k in the class logits -k (R - b_i)(R - b_(i+1))."""
    boundaries: Literal["between", "below"] = "between"
    """Where levels part in a batch: half-way `between` the two items beside the cut, or at the item `below` it, as the
    code of RbRL and ERL-VLM has it, which gives a lowest level that one item has no room."""
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
