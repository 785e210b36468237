"""Settings files and overrides of every kind, damaged in every way: a message or the settings that were written."""

import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import SettingsError
from orchestrator.judging.settings import load_judging
from orchestrator.kinds import load_experiment
from orchestrator.labelling.settings import load_labelling
from orchestrator.settings.loading import load_rater, read_settings
from orchestrator.settings.strict_yaml import parse_yaml
from orchestrator.sweeps.search import load_sweep
from tests.fakes.fuzz import A_HUNDRED, TEN_THOUSAND

CONFIGS = Path(__file__).parents[2] / "tune_configs"
LOADERS = {
    "demo.yaml": load_experiment,
    "erl_vlm/soccer.yaml": load_experiment,
    "button_press.yaml": load_experiment,
    "demo_offline/iql.yaml": load_experiment,
    "rg_vlm/iql.yaml": load_experiment,
    "rg_vlm/babyai.yaml": load_labelling,
    "rg_vlm/alfred_label.yaml": load_labelling,
    "rg_vlm/labellers/clip.yaml": load_labelling,
    "rg_vlm/labellers/gvl.yaml": load_labelling,
    "rg_vlm/labellers/random.yaml": load_labelling,
    "rg_vlm/labellers/roboclip.yaml": load_labelling,
    "rg_vlm/judge.yaml": load_judging,
    "sweeps/tiny.yaml": load_sweep,
}
HANGS_AFTER_S = 60
"""A guard, so that a hang fails and does not stop all."""

_LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
_TEXTS = [
    "\t", "\n", " ", ":", ": ", "- ", "? ", "&a ", "*a", "&a [*a]", "<<: *a\n", "!!int ", "!!float x", "!!bool maybe",
    "!!timestamp x", "!!set {a}", "!!python/object/apply:os.system [x]", "!!binary =", "!x ", "{", "}", "[", "]",
    "'", '"',
    "#", "|", ">", "%", "@", "`", "\0", "\x85", "\ufeff", "---\n", "...\n", "%YAML 1.1\n", "1e999", "-1e999",
    ".nan", ".inf",
    "0x1F", "0o17", "1:30", "2026-01-01", "9" * 30, "9" * 5000, "1e-3", "1_000", "_", "off", "null", "~", "[" * 3000,
    "{a: " * 400, _LAUGHS, "kind: 3\n", "kind: [a]\n", "base: .\n", "base: none.yaml\n", 'base: "\\0"\n', "1: 2\n",
    "[a]: b\n", "{a: b}: c\n", "search: {}\n", "sweep: 1\n", "task: {base: []}\n", "\xff", "💥",
]  # fmt: skip
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.sampled_from([2**31, 2**63 - 1, -(2**63), 2**64, 10**30, 1e308, -1e308, 5e-324, float("nan"), float("inf")])
    | st.floats(-10, 10)
    | st.sampled_from(
        ["", " ", "5", "1e-3", "true", "off", "none", "base", "../..", "s3://a:b@c/d", "x" * 5000, "é\0", "."]
    )
    | st.text(max_size=8)
)
_VALUES = st.recursive(
    _SCALARS,
    lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(max_size=6) | st.integers(), one, max_size=4),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the files that ship, where damaged ones may lie among those that they start from."""
    return Path(shutil.copytree(CONFIGS, tmp_path_factory.mktemp("fuzz") / "tune_configs"))


@st.composite
def damaged(draw):
    """File that the input is made of, its bytes, and overrides."""
    name = draw(st.sampled_from([*LOADERS]))
    text = (CONFIGS / name).read_text()
    paths = [*_paths(parse_yaml(text))]
    how = draw(st.sampled_from(["tree", "text", "bytes", "overrides"]))
    content, overrides = text.encode(), []
    if how == "tree":
        tree = parse_yaml(text)
        for _ in range(draw(st.integers(1, 3))):
            _change(tree, draw(st.sampled_from(paths)), draw)
        content = yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
    elif how == "text":
        for _ in range(draw(st.integers(1, 3))):
            start = draw(st.integers(0, len(text)))
            end = start + draw(st.sampled_from([0, 0, 1, 5, 40]))
            text = text[:start] + draw(st.sampled_from(_TEXTS)) + text[end:]
        content = text.encode()
    elif how == "bytes":
        place = draw(st.integers(0, len(content)))
        content = content[:place] + draw(st.binary(max_size=4)) + content[place + draw(st.integers(0, 4)) :]
    else:
        overrides = draw(st.lists(_overrides(paths), min_size=1, max_size=3))
    return name, content, overrides


def _paths(tree, above=()):
    yield above
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _paths(value, (*above, key))


def _change(tree, path, draw):
    """Put a value, a key or nothing where the path leads; nothing if an earlier change has taken it away."""
    *above, last = path or (draw(st.text(max_size=5)),)
    try:
        for key in above:
            tree = tree[key]
        how = draw(st.sampled_from(["value", "value", "new", "gone"]))
        if how == "gone":
            del tree[last]
        elif how == "new" and isinstance(tree, dict):
            tree[draw(st.text(max_size=6) | st.integers() | st.booleans() | st.none())] = draw(_VALUES)
        else:
            tree[last] = draw(_VALUES)
    except (KeyError, IndexError, TypeError):
        pass


def _overrides(paths):
    known = st.sampled_from([".".join(map(str, path)) for path in paths if path])
    deeper = st.builds("{}.{}".format, known, st.text(max_size=6))
    path = (
        known | deeper | st.sampled_from(["", ".", "a..b", "task", "task.base", "²", "9" * 5000, ".".join("a" * 900)])
    )
    value = _VALUES.map(lambda one: yaml.safe_dump(one, default_flow_style=True).removesuffix("\n...\n").strip())
    return st.builds("{}={}".format, path, value | st.sampled_from(_TEXTS)) | st.text(max_size=12)


@contextmanager
def no_hang():
    def hangs(*_):
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(HANGS_AFTER_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def check(folder, name, content, overrides):
    path = (folder / name).with_name("damaged.yaml")
    path.write_bytes(content)
    try:
        with no_hang():
            settings = LOADERS[name](path, overrides)
    except SettingsError as error:
        told = str(error)
        assert error.exit_code == 2 and len(told) < 20_000
        assert path.name in told or "override" in told or "task" in told or "base" in told or "search" in told, told
        return
    if LOADERS[name] is not load_sweep:
        given_ = read_settings(path, overrides)
        understood_as_given(given_, settings.model_dump())
        assert LOADERS[name](path, overrides) == settings


def understood_as_given(tree, settings):
    """Every value that was written is the one that counts: nothing is taken for something else, nothing is dropped."""
    if isinstance(tree, dict) and isinstance(settings, dict):
        for key, value in tree.items():
            if key != "task":  # A name or a base stands for more than was written.
                assert key in settings
                understood_as_given(value, settings[key])
    elif isinstance(tree, list):
        assert len(tree) == len(settings)
        for one, other in zip(tree, settings, strict=True):
            understood_as_given(one, other)
    elif isinstance(tree, str):
        assert str(settings) == tree or str(settings) == str(Path(tree)) or tree.startswith(("file://", "s3://"))
    else:
        assert settings == tree and isinstance(settings, bool) == isinstance(tree, bool)


def test_undamaged_files_are_read(folder):
    for name in LOADERS:
        content = (CONFIGS / name).read_bytes()
        check(folder, name, content, [])
        assert LOADERS[name](folder / name, [])


@A_HUNDRED
@given(damaged())
def test_damaged_settings_are_refused_in_words(folder, given_):
    check(folder, *given_)


@pytest.mark.slow
@TEN_THOUSAND
@given(damaged())
def test_ten_thousand_damaged_settings(folder, given_):
    check(folder, *given_)


@pytest.mark.parametrize("text", _TEXTS)
def test_whatever_stands_alone_in_a_file_or_an_override(folder, text):
    for name in ("demo.yaml", "sweeps/tiny.yaml"):
        check(folder, name, text.encode(), [])
        check(folder, name, (CONFIGS / name).read_bytes(), [f"name={text}"])
    try:
        load_rater([f"model={text}", text])
    except SettingsError as error:
        assert str(error)
