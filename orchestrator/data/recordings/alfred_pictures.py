"""Which picture of an ALFRED demonstration shows what: by the list that fits the pictures, or not at all.

ALFRED lists its pictures in `traj_data.json`. Its script `augment_trajectories.py` renders them anew into
`high_res_images/`, with other settings another number of them, and lists these in `augmented_traj_data.json`
(askforalfred/alfred#113). Both may leave ten pictures of the end that no list names. A picture that is matched with the
wrong list shows another moment, and nothing would tell; so a folder's pictures must be those of a list, by number and
by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from actors.thor.demonstrations import (
    END,
    TRAJECTORY_FILE,
    Augmented,
    Demonstration,
    NotALFRED,
    Picture,
    read_json,
)

AUGMENTED_FILE = "augmented_traj_data.json"
RECORDED_FOLDER, RENDERED_FOLDER = "raw_images", "high_res_images"
"""Of ALFRED's recordings, and of its script's pictures."""
ENDINGS = (".png", ".jpg", ".jpeg")
NUM_OF_THE_END = 10
"""Pictures after the last action, which no list names."""


@dataclass(frozen=True)
class Pairing:
    """Files of the states before and after each action."""

    before: dict[int, Path]
    """By the action's number; one without a picture is missing."""
    after: Path | None
    """The state after the last action; None if no picture shows it."""


def paired(folder: Path, told: Demonstration) -> Pairing:
    """Match a demonstration's pictures with its actions. Raises NotALFRED, saying why, if they fit no list."""
    lists = _lists(folder, told)
    reasons: list[str] = []
    for name, own in ((RECORDED_FOLDER, TRAJECTORY_FILE), (RENDERED_FOLDER, AUGMENTED_FILE)):
        try:
            found = _paired_in(folder / name, lists, own if own in lists else TRAJECTORY_FILE, told)
        except NotALFRED as error:
            reasons.append(f"{name}: {error}")
        else:
            if found is not None:
                return found
    raise NotALFRED("; ".join(reasons) or f"there is no picture in {RECORDED_FOLDER} or {RENDERED_FOLDER}")


def _lists(folder: Path, told: Demonstration) -> dict[str, list[Picture] | NotALFRED]:
    """The lists of pictures by their files, or what is wrong with one."""
    lists: dict[str, list[Picture] | NotALFRED] = {TRAJECTORY_FILE: told.images}
    if (folder / AUGMENTED_FILE).exists():
        try:
            augmented = read_json(folder / AUGMENTED_FILE, Augmented)
            if augmented.plan is not None and _outline(augmented) != _outline(told):
                raise NotALFRED(f"the plan in {AUGMENTED_FILE} is another one")
            lists[AUGMENTED_FILE] = augmented.images
        except NotALFRED as error:
            lists[AUGMENTED_FILE] = error
    return lists


def _outline(one: Demonstration | Augmented) -> list[tuple[int, str, str]]:
    return [(action.high_idx, action.name, action.object_id) for action in one.plan.low_actions] if one.plan else []


def _paired_in(
    folder: Path, lists: dict[str, list[Picture] | NotALFRED], own: str, told: Demonstration
) -> Pairing | None:
    """The pairing in one folder of pictures, or None if it has none. Raises NotALFRED.

    The folder's own list counts; another one only if that does not fit, and where recordings fit both, both must say
    the same.
    """
    files = _pictures(folder)
    if not files:
        return None
    fits: dict[str, Pairing] = {}
    reasons: dict[str, str] = {}
    for name, pictures in lists.items():
        try:
            if isinstance(pictures, NotALFRED):
                raise pictures
            fits[name] = _by_list(pictures, files, told)
        except NotALFRED as error:
            reasons[name] = str(error)
    if own == TRAJECTORY_FILE and len({(*sorted(one.before.items()), one.after) for one in fits.values()}) > 1:
        raise NotALFRED(f"its {len(files)} pictures fit {' and '.join(fits)}, which pair them differently")
    if own in fits:
        return fits[own]
    if fits:
        return next(iter(fits.values()))
    raise NotALFRED(
        f"it has {len(files)} pictures; " + ", and ".join(f"{name}: {why}" for name, why in reasons.items())
    )


def _by_list(pictures: Sequence[Picture], files: dict[str, Path], told: Demonstration) -> Pairing:
    """The pairing that a list makes of the pictures that are there. Raises NotALFRED if these are not the list's."""
    names = [_stem(picture) for picture in pictures]
    if len(set(names)) < len(names):
        raise NotALFRED(f"lists {next(name for name in names if names.count(name) > 1)} twice")
    of_the_end = [f"{len(names) + number:09d}" for number in range(NUM_OF_THE_END)]
    over = set(files) - set(names)
    if len(files) not in (len(names), len(names) + NUM_OF_THE_END):
        raise NotALFRED(f"lists {len(names)}")
    missing = set(names) - set(files)
    if missing or (over and over != set(of_the_end)):
        odd = f"{min(missing)} is not there" if missing else f"{min(over)} is in no list"
        raise NotALFRED(f"lists {len(names)}, and {odd}")
    _check_order(pictures, told)
    before: dict[int, Path] = {}
    for picture, name in zip(pictures, names, strict=True):
        before.setdefault(picture.low_idx, files[name])
    # The last picture that was taken during the last action shows its outcome, unless it is the only one.
    last = len(told.plan.low_actions) - 1
    shows_outcome = len(pictures) > 1 and pictures[-1].low_idx == pictures[-2].low_idx == last
    after = files[of_the_end[-1]] if over else files[names[-1]] if shows_outcome else None
    return Pairing(before, after)


def _check_order(pictures: Sequence[Picture], told: Demonstration) -> None:
    highs, kinds = told.plan.highs, told.plan.kinds
    for one, following in pairwise(pictures):
        if following.low_idx < one.low_idx:
            raise NotALFRED(f"has {following.image_name} of action {following.low_idx} after one of {one.low_idx}")
    for picture in pictures:
        if picture.low_idx >= len(highs):
            raise NotALFRED(f"has {picture.image_name} of action {picture.low_idx}, and there are {len(highs)}")
        # What is taken at the very end may count as of the plan's end.
        at_the_end = picture.low_idx == len(highs) - 1 and kinds[-1] == END
        if picture.high_idx not in (None, highs[picture.low_idx], len(kinds) - 1 if at_the_end else None):
            raise NotALFRED(
                f"has {picture.image_name} of skill {picture.high_idx}, and action {picture.low_idx} belongs to skill "
                f"{highs[picture.low_idx]}"
            )


def _stem(picture: Picture) -> str:
    """A picture's name without its ending: lists say .png also where the pictures are .jpg."""
    name = Path(picture.image_name)
    if name.name != picture.image_name or name.suffix.lower() not in ENDINGS:
        raise NotALFRED(f"names {picture.image_name[:80]!r}, which is no name of a picture")
    return name.stem


def _pictures(folder: Path) -> dict[str, Path]:
    """Files of pictures by their names without endings. Raises NotALFRED if two have one name."""
    found: dict[str, Path] = {}
    try:
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise NotALFRED(f"it cannot be read: {error.strerror or error}") from None
    for path in paths:
        # Hidden ones are notes of file managers.
        if path.suffix.lower() not in ENDINGS or path.name.startswith("."):
            continue
        if path.stem in found:
            raise NotALFRED(f"{found[path.stem].name} and {path.name} have one name")
        found[path.stem] = path
    return found
