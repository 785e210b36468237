"""Imports point one way: orchestrator -> actors -> algorithms. Every module is read, and every import in it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("algorithms", "actors", "orchestrator")
ACTORS = ("babyai", "rollout", "rating", "reward", "thor")


def modules() -> dict[str, Path]:
    """Module name to file, of all three packages."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports(module: str, path: Path) -> Iterator[str]:
    """Full names that a module imports, at the top or inside a function."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(filter(None, [base, node.module]))
            yield from (f"{source}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


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


@pytest.mark.parametrize(
    ("package", "above"), [("algorithms", "actors"), ("algorithms", "orchestrator"), ("actors", "orchestrator")]
)
def test_no_arrow_points_up(package, above):
    assert offenders(lambda module, name: within(module, package) and within(name, above)) == []


@pytest.mark.parametrize("actor", ACTORS)
def test_actors_do_not_know_one_another(actor):
    others = [other for other in ACTORS if other != actor]
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
        ("qwen_vl_utils", ["actors.rating"]),
        ("metaworld", ["actors.rollout"]),
        ("mujoco", ["actors.rollout"]),
        ("minigrid", ["actors.babyai"]),
        ("ai2thor", ["actors.thor"]),
        ("mlflow", ["orchestrator.runs.tracking"]),
        ("pyarrow", ["orchestrator"]),
        ("matplotlib", ["orchestrator"]),
        (
            "typer",
            [
                "orchestrator.cli.main",
                "orchestrator.cli.data",
                "orchestrator.cli.rater",
                "orchestrator.cli.plain_command",
                "orchestrator.sweeps.command",
            ],
        ),
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
    light = [
        "orchestrator.cli.main",
        "orchestrator.settings.experiment",
        "orchestrator.settings.loading",
        "orchestrator.errors",
    ]
    heavy = {
        "torch", "ray", "mlflow", "vllm", "metaworld", "mujoco", "minigrid", "matplotlib", "pyarrow", "transformers",
        "scipy",
    }  # fmt: skip
    program = f"import sys, {', '.join(light)}; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []
