"""Pictures as people have them: by path, depth, transparent, of other kinds and sizes."""

import os

import pytest

from algorithms.images import decode_png
from orchestrator.data.recordings.lerobot import LeRobotSettings, import_lerobot
from orchestrator.errors import SettingsError
from tests.fakes.small_recording import CAMERA, PICTURE, by_path, imported, pictures, png, small_recording


def test_pictures_by_path_are_read_below_the_folder(tmp_path):
    (tmp_path / "robot/images").mkdir(parents=True)
    paths = []
    for n in range(7):
        file = tmp_path / f"robot/images/{n}.png"
        file.write_bytes(png(n))
        paths += [[f"images/{n}.png", f"images\\{n}.png", f"./images/../images/{n}.png", str(file)][n % 4]]
    episodes, num_problems = imported(by_path(small_recording(), paths), tmp_path)
    assert num_problems == 0 and pictures(episodes["episode-000001"]) == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("images/none.png", "there is no file"),
        ("images", "there is no file"),
        ("../secret.png", "leads outside"),
        ("images/../../secret.png", "leads outside"),
        ("..\\secret.png", "leads outside"),
        ("C:\\robot\\secret.png", "leads outside"),
        ("OUTSIDE/secret.png", "leads outside"),
        ("link.png", "leads outside"),
        ("linked/secret.png", "leads outside"),
        ("pipe", "there is no file"),
        ("a\0b", "picture 1 cannot be read"),
        ("x" * 5_000, "picture 1 cannot be read"),
        ("", "there is no file"),
        (None, "neither bytes nor a path"),
    ],
)
def test_a_picture_that_is_missing_or_outside_spoils_its_episode_alone(tmp_path, capsys, path, text):
    (tmp_path / "robot/images").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(png(200))
    (tmp_path / "robot/link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "robot/linked").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "robot/pipe")
    path = path and path.replace("OUTSIDE", str(tmp_path))
    cells = [{"bytes": png(n), "path": None} for n in range(7)]
    cells[4] = {"bytes": None, "path": path}
    episodes, num_problems = imported(small_recording().set("data", CAMERA, cells, PICTURE), tmp_path)
    assert list(episodes) == ["episode-000000"] and num_problems == 1
    assert "episode-000001: picture 1 cannot be read" in (told := capsys.readouterr().err) and text in told


@pytest.mark.parametrize("info", [{"info": {"is_depth_map": True}}, {"info": {"video.is_depth_map": True}},
                                  {"video.is_depth_map": True}, {"info": {"depth": {"is_depth_map": 1}}}])  # fmt: skip
@pytest.mark.parametrize("dtype", ["image", "video"])
def test_depth_is_no_camera(tmp_path, info, dtype):
    recording = small_recording()
    recording.info["features"]["depth"] = {"dtype": dtype, "shape": [4, 4, 1], "names": None, **info}
    assert len(imported(recording, tmp_path)[0]) == 2
    with pytest.raises(SettingsError, match=r"camera = depth: .* \(depth shows depth, which a rater cannot be shown\)"):
        import_lerobot(tmp_path / "robot", tmp_path / "other", LeRobotSettings(camera="depth"))


def edited(**pixels):
    from io import BytesIO

    from PIL import Image

    picture = Image.new(pixels["mode"], (4, 4), pixels["colour"])
    file = BytesIO()
    picture.save(file, pixels.get("kind", "PNG"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("picture", "text"),
    [
        (png(3_000, mode="I;16"), "more than eight bits"),
        (edited(mode="RGBA", colour=(1, 2, 3, 128)), "transparent in places"),
        (edited(mode="LA", colour=(1, 0)), "transparent in places"),
        (edited(mode="RGB", colour=0, kind="TIFF"), "no picture in PNG"),
        (edited(mode="RGB", colour=0, kind="EPS"), "no picture in PNG"),
        (b"", "no picture in PNG"),
        (png(1)[:50], "picture 1 cannot be read"),
        (png(1, px=5), "a picture of 5 x 5 pixels, where the first episode's are 4 x 4"),
    ],
)
def test_pictures_that_cannot_be_shown_cost_their_episode(tmp_path, capsys, picture, text):
    cells = [{"bytes": png(n), "path": None} for n in range(7)]
    cells[4]["bytes"] = picture
    episodes, num_problems = imported(small_recording().set("data", CAMERA, cells, PICTURE), tmp_path)
    assert list(episodes) == ["episode-000000"] and num_problems == 1
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("picture", "colour"),
    [
        (edited(mode="L", colour=9), (9, 9, 9)),
        (edited(mode="RGBA", colour=(9, 8, 7, 255)), (9, 8, 7)),
        (edited(mode="P", colour=0), (0, 0, 0)),
        (edited(mode="1", colour=1), (255, 255, 255)),
        (edited(mode="RGB", colour=(9, 8, 7), kind="BMP"), (9, 8, 7)),
    ],
)
def test_pictures_of_eight_bits_become_colours(tmp_path, picture, colour):
    cells = [{"bytes": picture, "path": None} for n in range(7)]
    episodes, _ = imported(small_recording().set("data", CAMERA, cells, PICTURE), tmp_path)
    assert tuple(decode_png(episodes["episode-000001"].frames[0])[0, 0]) == colour
