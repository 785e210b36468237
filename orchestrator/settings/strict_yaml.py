"""YAML that reads as people mean it: plain data only, no key twice, `off` is a word and `1e-3` a number."""

import re
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Safe, with the scalars of YAML 1.2. PyYAML follows 1.1, where `off` is false, `1e-3` text and `1:30` ninety."""

    # Of its own, because the base class's table is shared.
    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 - PyYAML's protocol.

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands here twice; remove one", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _resolve(tag: str, pattern: str, first_characters: str) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first_characters))


_resolve("null", r"^(?:~|null|Null|NULL|)$", "~nN")
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^$"), [""])
_resolve("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF")
_resolve("int", r"^[-+]?[0-9][0-9_]*$", "-+0123456789")
_resolve("float", r"^[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789")


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node).replace("_", ""))


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(loader.construct_scalar(node).replace("_", ""))


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def parse_yaml(text: str) -> Any:
    """The data in `text`. Raises yaml.YAMLError, with line and column, for what is not YAML or not plain data."""
    return yaml.load(text, _Loader)
