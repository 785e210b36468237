"""Each bad setting gives one message with field, value, rule and remedy."""

import re

import pytest

from orchestrator.errors import SettingsError
from orchestrator.kinds import load_experiment


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text("name: test\ntask: drawer_close\nreward_model: {network: small, image_px: 56}\n")
    return path


CASES = {
    # unknown key
    "feedback.num_rating=3": "feedback.num_rating: there is no such setting; did you mean 'num_ratings'?",
    "feedbak.num_ratings=3": "feedbak: there is no such setting; did you mean 'feedback'?",
    "rater.zzz=3": "rater.zzz: there is no such setting; there are model, revision, mode",
    "task.camera={position: [1, 1, 1], look_at: [0, 0, 0], zoom: 2}": "task.camera.zoom: there is no such setting",
    # wrong type
    "policy.batch_size=lots": "policy.batch_size = 'lots': must be a whole number. It means: Transitions in an update.",
    "policy.batch_size='64'": "policy.batch_size = '64': must be a whole number, such as 64",
    "policy.batch_size=true": "policy.batch_size = True: must be a whole number, such as 1",
    "policy.batch_size=1.5": "policy.batch_size = 1.5: must be a whole number",
    "policy.reset_critic=yes": "policy.reset_critic = 'yes': must be true or false, such as true",
    "policy.reset_critic=1": "policy.reset_critic = 1: must be true or false, such as true",
    "policy.hidden=128": "policy.hidden = 128: must be a list. It means: Hidden layers of actor and critics.",
    "policy.hidden=[64, x]": "policy.hidden.1 = 'x': must be a whole number",
    "policy.hidden=['64']": "policy.hidden.0 = '64': must be a whole number, such as 64",
    "policy.target_entropy=some": "policy.target_entropy = 'some': must be a number or 'auto'",
    "rater=3": "rater = 3: must be a block of `key: value` lines",
    # out of range
    "feedback.num_ratings=6": "feedback.num_ratings = 6: must be one of 2, 3, 4, 5. It means: Levels n of the Likert",
    "policy.discount=1": "policy.discount = 1: must be below 1.0",
    "seed=-1": "seed = -1: must be at least 0",
    "task.image_px=4096": "task.image_px = 4096: must be at most 1024",
    "policy.hidden=[0]": "policy.hidden.0 = 0: must be above 0",
    # what exists only by name
    "task=drawer_clos": "task = 'drawer_clos': there is no such packaged task; did you mean 'drawer_close'? There are",
    "task=juggle": "task = 'juggle': there is no such packaged task. There are button_press",
    "task.env_id=drawer-cloze-v3": "MetaWorld has no environment 'drawer-cloze-v3'; did you mean drawer-close-v3",
    "task.camera=cornr": "task.camera = 'cornr': must be one of 'topview', 'corner', 'corner2'",
    "task.camera=3": "task.camera = 3: must be one of 'topview', 'corner', 'corner2'",
    "rater.mode=fast": "rater.mode = 'fast': must be one of 'two_turn', 'answer_only'",
    "rater.endpoint=myserver": "rater.endpoint = 'myserver': must be text of the form ^https?://",
    # incomplete
    "task.camera={position: [1, 1, 1]}": "task.camera.look_at is missing: add it",
    "task.camera={position: [1, 1], look_at: [0, 0, 0]}": "task.camera.position.2 is missing",
    "task.instruction=''": "task.instruction = '': must be text of 1 characters or more",
    # settings that do not fit each other
    "feedback.budget=10": "feedback: budget 10 is below one session of 50; raise budget or lower per_session",
    "total_env_steps=100": "feedback.first_env_steps 10000 is not below total_env_steps 100: no rating would be asked",
    "reward_model.image_px=300": "reward_model.image_px 300 is above task.image_px 112",
    "task.rubrics.3=[one]": "task: rubrics.3 has 1 lines; it needs one per level",
    "task.rubrics.7=[one]": "task.rubrics: the key 7 must be one of 2, 3, 4, 5",
    # overrides themselves
    "seed": "override 'seed' is not of the form key.path=value",
    ".seed=1": "override '.seed=1' is not of the form key.path=value",
    "policy.hidden=[1": "override 'policy.hidden=[1': the value '[1' is not valid YAML",
}


@pytest.mark.parametrize("override", CASES)
def test_message(file, override):
    with pytest.raises(SettingsError, match=re.escape(CASES[override])) as caught:
        load_experiment(file, [override])
    # One fault, one line below the title.
    assert len(str(caught.value).splitlines()) <= 2
    assert caught.value.exit_code == 2


def test_several_faults_are_named_together(file):
    with pytest.raises(SettingsError) as caught:
        load_experiment(file, ["feedback.num_ratings=6", "policy.batch_size=0", "rater.mood=good"])
    assert str(caught.value).splitlines() == [
        f"Settings of {file} cannot be used:",
        "  feedback.num_ratings = 6: must be one of 2, 3, 4, 5. It means: Levels n of the Likert scale.",
        "  rater.mood: there is no such setting; did you mean 'mode'?",
        "  policy.batch_size = 0: must be above 0. It means: Transitions in an update.",
    ]
