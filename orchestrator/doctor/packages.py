"""Python and packages, against the versions that likert-rl is made for."""

import platform
from collections.abc import Callable
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from orchestrator.doctor.findings import Unfit

DISTRIBUTION = "likert-rl"
ENGINES = ("cpu", "gpu")
"""Extras of which one is wanted: each is a build of vLLM."""
_INSTALL = "install the exact versions: make install, or pip install -r requirements/cpu.txt (gpu.txt with a GPU)"

Version = Callable[[str], str]


def check_python(found: str | None = None) -> str:
    """This Python's version, if it fits."""
    found = found or platform.python_version()
    wanted = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    if found not in SpecifierSet(wanted):
        raise Unfit(f"Python {found}, wanted {wanted}", "make the environment anew with python3.11: make clean install")
    return found


def check_packages(version: Version = metadata.version) -> str:
    """How many packages have the version that is pinned, if all have."""
    requirements = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
    always = [one for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    engines = [one for one in requirements if any(_of_extra(one, extra) for extra in ENGINES)]
    wrong = [text for one in always if (text := _difference(one, version))]
    differences = [_difference(one, version) for one in engines]
    if engines and all(differences):
        wrong.append(" and ".join(filter(None, differences)))
    if wrong:
        raise Unfit("; ".join(wrong), _INSTALL)
    return f"{len(always) + 1} packages as pinned, ray {version('ray')}, torch {version('torch')}"


def _of_extra(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _difference(requirement: Requirement, version: Version) -> str | None:
    try:
        found = version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing, wanted {requirement.specifier}"
    fits = requirement.specifier.contains(found, prereleases=True)
    return None if fits else f"{requirement.name} is {found}, wanted {requirement.specifier}"
