"""Demonstrations in ALFRED's own layout, made small: six actions, four skills, two annotators, plain pictures."""

import json

from PIL import Image

LOW = [
    ("MoveAhead_25", 0, {}),
    ("RotateLeft_90", 0, {}),
    ("PickupObject", 1, {"objectId": "Mug|+00.10|+00.90|-01.20"}),
    ("MoveAhead_25", 2, {}),
    ("OpenObject", 3, {"objectId": "Microwave|1|2|3"}),
    ("PutObject", 3, {"objectId": "Mug|1|2|3", "receptacleObjectId": "CoffeeMachine|1|2|3"}),
]
HIGH = ["GotoLocation", "PickupObject", "GotoLocation", "PutObject", "NoOp"]
SENTENCES = [
    ["Walk to the table.", "Pick up the mug.", "Turn to the machine.", "Put the mug into it."],
    ["Go to the table.", "Take  the mug\n", "Go on.", "Place the mug."],
]
PER_ACTION = 2
"""Pictures of each action in ALFRED's own recording; its script, as it is called without more words, takes one."""


def colour(index, folder="raw_images"):
    """The colour of a picture: its number, and which folder it lies in."""
    return (10 * index, 100 if folder == "raw_images" else 50, 255 - 10 * index)


def draw(folder, numbers, ending="png", size=(16, 12)):
    """Pictures of these numbers in a folder of pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new("RGB", size, colour(number, folder.name)).save(folder / f"{number:09d}.{ending}")


def listed(per_action, low=LOW):
    """A list of pictures, so many of each action."""
    return [
        {"low_idx": index, "high_idx": high, "image_name": f"{per_action * index + number:09d}.png"}
        for index, (_, high, _) in enumerate(low)
        for number in range(per_action)
    ]


def demonstration(low=LOW, high=HIGH, sentences=SENTENCES):
    """What stands in `traj_data.json`."""
    return {
        "task_type": "pick",
        "plan": {
            "high_pddl": [
                {"high_idx": i, "discrete_action": {"action": kind, "args": []}} for i, kind in enumerate(high)
            ],
            "low_actions": [
                {
                    "high_idx": skill,
                    "discrete_action": {"action": name, "args": {}},
                    "api_action": {"action": name, **api},
                }
                for name, skill, api in low
            ],
        },
        "images": listed(PER_ACTION, low),
        "turk_annotations": {"anns": [{"task_desc": "Heat a mug.", "high_descs": told} for told in sentences]},
    }


def write_demonstration(folder, ending="png"):
    """Low action i was filmed with two pictures; the first, picture 2 i, shows the state before it."""
    found = demonstration()
    draw(folder / "raw_images", range(PER_ACTION * len(LOW)), ending)
    (folder / "traj_data.json").write_text(json.dumps(found))


def render_anew(folder, at_the_end=10):
    """What ALFRED's `augment_trajectories.py` leaves: a picture before each action, some of the end, and their list."""
    draw(folder / "high_res_images", range(len(LOW) + at_the_end))
    augmented = demonstration() | {"images": listed(1)}
    (folder / "augmented_traj_data.json").write_text(json.dumps(augmented))
