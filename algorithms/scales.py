"""Likert scales: the words of each level, worst first, and what each level looks like for a task; and preferences."""

from dataclasses import dataclass

SCALE_WORDS: dict[int, tuple[str, ...]] = {
    2: ("Bad", "Good"),
    3: ("Bad", "Average", "Good"),
    4: ("Very Bad", "Bad", "Good", "Very Good"),
    5: ("Very Bad", "Bad", "Average", "Good", "Very Good"),
}
"""The published words (ERL-VLM, section 4)."""
PREFERENCES = ("First", "Second", "Cannot tell")
"""What may be said of two pictures in place of a level: which is nearer to the goal, or neither (RL-VLM-F)."""
CANNOT_TELL = 2
"""Place of the answer that says nothing about two pictures."""


@dataclass(frozen=True)
class RatingScale:
    """n ordered levels. `rubric`, if given, says for each level what it looks like and goes into the prompt.

    Or the answers to a comparison of two pictures, which are not levels: `preference`.
    """

    words: tuple[str, ...]
    rubric: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rubric and len(self.rubric) != len(self.words):
            raise ValueError(f"a rubric needs one line per level: {len(self.words)} levels, {len(self.rubric)} lines")

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def likert(cls, num_ratings: int, rubric: tuple[str, ...] = ()) -> "RatingScale":
        """The published scale of `num_ratings` levels. Raises ValueError outside 2 to 5."""
        if num_ratings not in SCALE_WORDS:
            raise ValueError(f"num_ratings {num_ratings}: the scales have 2, 3, 4 or 5 levels")
        return cls(SCALE_WORDS[num_ratings], tuple(rubric))

    @classmethod
    def preference(cls) -> "RatingScale":
        """The answers to which of two pictures is nearer to the goal."""
        return cls(PREFERENCES)

    @property
    def compares(self) -> bool:
        """Whether two pictures are compared, and no level is said."""
        return self.words == PREFERENCES
