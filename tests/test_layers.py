"""Imports point one way: between packages, between rooms, and between modules. Every import of every module is read."""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("algorithms", "actors", "orchestrator")
ACTORS = {
    "babyai": (),
    "pocket": ("rating",),
    "rating": (),
    "reward": (),
    "rollout": ("worlds",),
    "thor": (),
    "worlds": ("babyai", "thor"),
}
"""Folders of `actors/`, and which others each may know: a pocket rater is made for the server that will load and ask
it; a rollout worker acts in worlds; and some of these are made of simulators that have folders of their own."""

GROUND = ("settings", "storage", "screen", "errors")
BELOW_RUNS = ("ratings", "data", "pocket", "cluster", *GROUND)
BELOW_KINDS = ("reports", "runs", *BELOW_RUNS)
EXPERIMENTS = ("kinds", "online", "offline", "labelling", "judging", *BELOW_KINDS)
ROOMS = {
    "cli": ("gallery", "doctor", "sweeps", *EXPERIMENTS),
    "gallery": ("kinds", *BELOW_KINDS),
    "doctor": ("sweeps", *EXPERIMENTS),
    "sweeps": EXPERIMENTS,
    "kinds": ("online", "offline", *BELOW_KINDS),
    "online": BELOW_KINDS,
    "offline": BELOW_KINDS,
    "labelling": BELOW_KINDS,
    "judging": BELOW_KINDS,
    "reports": ("runs", *BELOW_RUNS),
    "runs": BELOW_RUNS,
    "ratings": ("cluster", *GROUND),
    "data": ("storage", "screen", "errors"),
    "pocket": GROUND,
    "cluster": GROUND,
    "settings": ("storage", "screen", "errors"),
    "storage": ("screen", "errors"),
    "screen": (),
    "errors": (),
}
"""The rooms of `orchestrator/`, from the top floor down, and what each may import of it besides itself. `kinds` and
`errors` are single modules."""
LARGEST_ROOM = 16
PRIVATE = "orchestrator.cluster.ray_private"
"""The one module that may import private modules of libraries; it says why."""


@functools.cache
def modules() -> dict[str, Path]:
    """Module name to file, of all three packages."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def import_nodes(tree: ast.AST, typing_only: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every import statement, and whether it stands under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, typing_only
        else:
            guard = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
            yield from import_nodes(node, typing_only or guard)


@functools.cache
def imports(module: str, path: Path, with_typing_only: bool = True) -> tuple[str, ...]:
    """Full names that a module imports, at the top or inside a function; for type checkers only, too, if wanted."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: list[str] = []
    for node, typing_only in import_nodes(ast.parse(path.read_text())):
        if typing_only and not with_typing_only:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        else:
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(filter(None, [base, node.module]))
            names += [f"{source}.{alias.name}" for alias in node.names]
    return tuple(names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def room_of(module: str) -> str:
    """The room of a module of `orchestrator`; of the package itself, nothing."""
    return module.partition(".")[2].partition(".")[0]


def imported_modules(module: str, known: dict[str, Path]) -> set[str]:
    """Modules of ours that a module imports from."""
    found = set()
    for name in imports(module, known[module]):
        found |= {one for one in (name, name.rpartition(".")[0]) if one in known}
        # `from package import module` reads the module alone.
        if name in known:
            found.discard(name.rpartition(".")[0])
    return found - {module}


def texts(tree: ast.AST) -> Iterator[str]:
    """Every text in a module that the program uses: not what only documents it."""
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            documents = isinstance(node, ast.Expr)
            if isinstance(child, ast.Constant) and isinstance(child.value, str) and not documents:
                yield child.value


def circles(graph: dict[str, set[str]]) -> list[str]:
    """A path for each module that leads back to itself, as text."""
    found = []
    for start in graph:
        paths, seen = [[start]], set()
        while paths:
            path = paths.pop(0)
            for name in graph[path[-1]]:
                if name == start:
                    found.append(" -> ".join([*path, start]))
                    paths = []
                    break
                if name not in seen:
                    seen.add(name)
                    paths.append([*path, name])
    return found


def offenders(forbidden, allowed=lambda module, name: False) -> list[str]:
    """'module imports name' for each import that `forbidden(module, name)` names and `allowed` does not."""
    return [
        f"{module} imports {name}"
        for module, path in modules().items()
        for name in imports(module, path)
        if forbidden(module, name) and not allowed(module, name)
    ]


def test_the_walk_sees_imports_of_every_form(tmp_path):
    path = tmp_path / "one.py"
    path.write_text(
        "import a.b\nfrom c import d as e\nfrom . import f\nfrom .g import h\nfrom ..i import j\n"
        "def k():\n    import l\n    from m.n import o\n"
    )
    assert sorted(imports("top.sub.one", path)) == [
        "a.b", "c.d", "l", "m.n.o", "top.i.j", "top.sub.f", "top.sub.g.h",
    ]  # fmt: skip
    assert {"algorithms.settings", "actors.rating.settings", "orchestrator.cli.main", "algorithms"} <= set(modules())


def test_the_walk_tells_what_only_type_checkers_import(tmp_path):
    path = tmp_path / "one.py"
    path.write_text("import typing\nif typing.TYPE_CHECKING:\n    from a import b\nelse:\n    c = 1\n")
    assert list(imports("one", path)) == ["typing", "a.b"]
    assert list(imports("one", path, with_typing_only=False)) == ["typing"]


def test_the_walk_finds_circles_of_any_length():
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circles({"a": {"b"}, "b": {"a"}, "c": {"a"}}) == ["a -> b -> a", "b -> a -> b"]
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}})[0] == "a -> b -> c -> a"


def test_the_table_of_rooms_is_complete_and_points_down():
    assert {room_of(module) for module in modules() if module.startswith("orchestrator.")} == set(ROOMS)
    floors = list(ROOMS)
    assert [f"{room}: {low}" for room in ROOMS for low in ROOMS[room] if floors.index(low) <= floors.index(room)] == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_the_table_allows(room):
    assert (
        offenders(
            lambda module, name: (
                within(module, f"orchestrator.{room}")
                and within(name, "orchestrator")
                and room_of(name) not in (room, *ROOMS[room])
            )
        )
        == []
    )


def test_runs_know_ratings_by_their_types_only():
    found = [
        f"{module} imports {name}"
        for module, path in modules().items()
        if within(module, "orchestrator.runs")
        for name in imports(module, path, with_typing_only=False)
        if within(name, "orchestrator.ratings")
    ]
    assert found == []


def test_nothing_lies_on_the_landing_and_no_room_is_crowded():
    top = sorted(path.name for path in (ROOT / "orchestrator").glob("*.py"))
    assert top == ["__init__.py", "errors.py", "kinds.py"]
    for room in (ROOT / "orchestrator").iterdir():
        assert len(list(room.glob("*.py"))) <= LARGEST_ROOM, room.name


def test_no_modules_import_one_another_in_a_circle():
    known = modules()
    assert circles({module: imported_modules(module, known) for module in known}) == []


def test_what_is_private_to_a_library_is_imported_in_one_place():
    def private(module, name):
        parts = name.split(".")
        return parts[0] not in PACKAGES and any(part.startswith("_") and part != "__future__" for part in parts)

    assert offenders(private, lambda module, name: module == PRIVATE) == []
    assert any(private(PRIVATE, name) for name in imports(PRIVATE, modules()[PRIVATE])), "then it may go"


def test_kinds_of_experiment_are_known_by_name_in_one_place():
    """Below and above `kinds.py`, nothing names a kind: neither its module, nor its settings class."""
    rooms = ("cli", "gallery", "doctor", "sweeps", "reports", "runs", "cluster", "settings")
    named = [
        f"{module} imports {name}"
        for module, path in modules().items()
        if module.startswith("orchestrator.") and room_of(module) in rooms
        for name in imports(module, path)
        if any(within(name, f"orchestrator.{kind}") for kind in ("online", "offline"))
    ]
    assert named == []
    assert [
        f"{module}: {text}"
        for module, path in modules().items()
        # A sweep's estimate counts gradient steps of offline runs apart: these are words for people.
        if module.startswith("orchestrator.") and room_of(module) in rooms and module != "orchestrator.sweeps.estimate"
        for text in texts(ast.parse(path.read_text()))
        if re.search(r"\b(online|offline)\b", text)
    ] == []


@pytest.mark.parametrize(
    ("package", "above"), [("algorithms", "actors"), ("algorithms", "orchestrator"), ("actors", "orchestrator")]
)
def test_no_arrow_points_up(package, above):
    assert offenders(lambda module, name: within(module, package) and within(name, above)) == []


@pytest.mark.parametrize("actor", ACTORS)
def test_actors_do_not_know_one_another(actor):
    others = [other for other in ACTORS if other not in (actor, *ACTORS[actor])]
    assert (
        offenders(
            lambda module, name: (
                within(module, f"actors.{actor}") and any(within(name, f"actors.{other}") for other in others)
            )
        )
        == []
    )


@pytest.mark.parametrize(
    ("library", "owners"),
    [
        ("vllm", ["actors.rating"]),
        ("metaworld", ["actors.worlds.metaworld"]),
        ("mujoco", ["actors.worlds"]),
        ("minigrid", ["actors.babyai", "actors.worlds.gymnasium.grids"]),
        ("ai2thor", ["actors.thor"]),
        ("mlflow", ["orchestrator.runs.tracking"]),
        # The codec uses its Zstandard, no tables.
        ("pyarrow", ["orchestrator", "algorithms.frame_codec"]),
        ("matplotlib", ["orchestrator"]),
        ("typer", ["orchestrator.cli"]),
        ("rich", ["orchestrator"]),
        ("ray", ["orchestrator", "algorithms.policies"]),
    ],
)
def test_a_library_is_imported_by_its_owners_only(library, owners):
    assert (
        offenders(
            lambda module, name: within(name, library),
            lambda module, name: any(within(module, owner) for owner in owners),
        )
        == []
    )


def test_of_ray_the_policies_know_rllib_only():
    # `ray.util.debug` is what RLlib itself logs through; it touches no cluster.
    known = ("ray.rllib", "ray.util.debug")
    assert (
        offenders(
            lambda module, name: within(module, "algorithms") and within(name, "ray"),
            lambda module, name: any(within(name, one) for one in known),
        )
        == []
    )


@pytest.mark.parametrize("library", ["random", "time", "datetime", "subprocess", "threading", "requests", "httpx"])
def test_algorithms_know_no_clock_no_global_randomness_and_no_outside(library):
    assert offenders(lambda module, name: within(module, "algorithms") and within(name, library)) == []


def test_algorithms_draw_from_generators_they_are_given():
    """`np.random.rand` and its like draw from a global state; generators and their types do not."""
    allowed = {"Generator", "SeedSequence", "default_rng", "PCG64", "BitGenerator"}
    found = [
        f"{module}: np.random.{node.attr}"
        for module, path in modules().items()
        if within(module, "algorithms")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) in ("np.random", "numpy.random")
        and node.attr not in allowed
    ]
    assert found == []


def test_rating_settings_and_command_line_load_nothing_heavy():
    """What `--help` and a check of settings need: no torch, no Ray, no simulator."""
    light = ["orchestrator.cli.main", "orchestrator.kinds", "orchestrator.settings.loading", "orchestrator.errors"]
    heavy = {
        "torch", "ray", "mlflow", "vllm", "metaworld", "mujoco", "minigrid", "matplotlib", "pyarrow", "transformers",
        "scipy",
    }  # fmt: skip
    program = f"import sys, {', '.join(light)}; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []
