"""Settings of BabyAI chains. Importing them loads no simulator."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from algorithms.settings import Fraction, PositiveInt, Settings

ACTION_NAMES = ("turn left", "turn right", "move forward", "pick up", "drop", "toggle", "do nothing")
"""BabyAI's seven actions in words, by number."""
LEFT, RIGHT, FORWARD, PICK_UP, DROP, TOGGLE, NOTHING = range(7)

COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
OBJECTS = ("key", "ball", "box")
MAX_CHAIN = 6

SubtaskKind = Literal["goto", "pickup", "open", "putnext"]
Split = Literal["train", "held_out", "held_out_pairs"]
"""`held_out`: seeds that `train` never draws. `held_out_pairs`: besides, each chain names an object of a kind and
colour that does not occur in `train`."""
SPLITS: tuple[Split, ...] = ("train", "held_out", "held_out_pairs")


def egocentric_shape(symbolic_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Shape of an egocentric observation: a square with a cell in the middle."""
    side = max(symbolic_shape[:2]) | 1
    return side, side, 3


class DetourSettings(Settings):
    """Demonstrators that first go to something else: completed, not necessarily optimal, as RG-VLM's data is."""

    probability: Fraction = 0.0
    """Before each sub-task the demonstrator makes a detour with this probability, and then does what is asked."""
    kind: Literal["key", "ball", "box", "door"] = "ball"
    """A detour leads to the nearest thing of this kind, of any colour, until the agent faces one; there is none where a
    level has none. What is in hand is put down first. Where the way completes the sub-task, that is that."""
    max_actions: PositiveInt = 30
    """A detour ends after so many actions, wherever that is."""
    failing_share: Fraction = 0.0
    """Share of chains that fail: at a sub-task drawn evenly the recording ends after a detour. It is truncated there,
    not terminated, and nobody is paid."""


NO_DETOURS = DetourSettings()


class BabyAISettings(Settings):
    """Rooms, objects and sub-tasks of BabyAI chains, and how a frame is drawn."""

    room_size: Annotated[int, Field(ge=4)] = 6
    """Side of a room in cells, walls included."""
    num_rows: PositiveInt = 2
    """Rooms from top to bottom, joined by unlocked doors."""
    num_cols: PositiveInt = 2
    """Rooms from left to right."""
    num_objects: PositiveInt = 7
    """Keys, balls and boxes that lie about."""
    subtasks: tuple[SubtaskKind, ...] = ("goto", "pickup", "open", "putnext")
    """Kinds of sub-tasks, drawn evenly."""
    held_out_pairs: tuple[tuple[str, str], ...] = (("red", "box"), ("blue", "key"), ("yellow", "ball"))
    """Colour and kind of objects that do not occur in the training split."""
    tile_px: Annotated[int, Field(ge=5)] = 7
    """Side of a cell in the frame. With 7, two by two cells are a patch of a Qwen-VL."""

    @model_validator(mode="after")
    def _consistent(self) -> "BabyAISettings":
        if not self.subtasks:
            raise ValueError("subtasks is empty: name at least one of goto, pickup, open, putnext")
        if "open" in self.subtasks and self.num_rows * self.num_cols == 1:
            raise ValueError(
                "subtasks has 'open', but one room has no door; raise num_rows or num_cols, or leave it out"
            )
        for colour, kind in self.held_out_pairs:
            if colour not in COLOURS or kind not in OBJECTS:
                raise ValueError(
                    f"held_out_pairs has ({colour}, {kind}): the colours are {', '.join(COLOURS)}, the kinds "
                    f"{', '.join(OBJECTS)}"
                )
        if len(self.held_out_pairs) * 2 > len(COLOURS) * len(OBJECTS):
            raise ValueError("held_out_pairs holds more than half of all pairs; too few are left to train on")
        cells = (self.room_size - 2) ** 2 * self.num_rows * self.num_cols
        if self.num_objects > cells // 3:
            raise ValueError(f"num_objects {self.num_objects} is above a third of the rooms' {cells} cells; lower it")
        return self

    @property
    def grid_size(self) -> tuple[int, int]:
        """Height and width of the grid in cells."""
        return (self.room_size - 1) * self.num_rows + 1, (self.room_size - 1) * self.num_cols + 1

    @property
    def frame_px(self) -> tuple[int, int]:
        """Height and width of a frame: the grid, and a row and a column of cells beside it."""
        height, width = self.grid_size
        return (height + 1) * self.tile_px, (width + 1) * self.tile_px

    @property
    def symbolic_shape(self) -> tuple[int, int, int]:
        """Shape of the symbolic observation."""
        return (*self.grid_size, 3)
