"""YAML that reads as people mean it: plain data only, no key twice, `off` is a word and `1e-3` a number."""

import math
import re
from typing import Any

import yaml

MOST_VALUES = 100_000
"""A file of a few lines whose aliases name one another can mean more values than memory holds."""
DEEPEST = 50
"""Brackets in one another."""
LONGEST_NUMBER = 20
"""Characters of a whole number of 64 bits."""
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}


class _Loader(yaml.SafeLoader):
    """Safe, with the scalars of YAML 1.2. PyYAML follows 1.1, where `off` is false, `1e-3` text and `1:30` ninety."""

    # Of its own, because the base class's table is shared.
    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 - PyYAML's protocol.

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        # The time of each bracket grows with those around it.
        if self.flow_level >= DEEPEST:
            raise yaml.scanner.ScannerError(None, None, f"more than {DEEPEST} brackets in one another", self.get_mark())
        super().fetch_flow_collection_start(TokenClass)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _error("a key must be one word, a number or text in quotes, no block or list", key_node)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise _error(f"key {key!r} stands here twice; remove one", key_node)
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
    text = loader.construct_scalar(node).replace("_", "")
    # Longer ones are no number of anything here, and Python refuses to read thousands of digits.
    number = int(text) if len(text) <= LONGEST_NUMBER else 2**63
    if not -(2**63) <= number < 2**63:
        raise _error(f"the whole number {text[:LONGEST_NUMBER]}... does not fit 64 bits", node)
    return number


def _construct_float(loader: _Loader, node: yaml.ScalarNode) -> float:
    number = float(loader.construct_scalar(node).replace("_", ""))
    if not math.isfinite(number):
        raise _error(f"{node.value!r} is no finite number", node)
    return number


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)


def parse_yaml(text: str) -> Any:
    """The data in `text`. Raises yaml.YAMLError, with line and column, for what is not YAML or not plain data."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _weigh(node, {})
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError("blocks or lists stand in one another too deeply") from None
    except (ValueError, KeyError) as error:
        # A tag that claims what its value is not, such as `!!int one`.
        raise yaml.YAMLError(f"a value does not fit its tag: {error}") from None
    finally:
        loader.dispose()


def _weigh(node: yaml.Node, weights: dict[int, int | None]) -> int:
    """Values in a node, those of an alias each time that it is named. Raises if they are too many, or endless."""
    if node.tag not in _PLAIN_TAGS:
        raise _error(f"tag {node.tag!r}: only plain data is read here; remove it", node)
    if id(node) in weights:
        weight = weights[id(node)]
        if weight is None:
            raise _error("an alias stands within what it stands for", node)
        return weight
    weights[id(node)] = None
    below: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        below = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        below = node.value
    weight = 1 + sum(_weigh(one, weights) for one in below)
    if weight > MOST_VALUES:
        raise _error(f"aliases and lists make more than {MOST_VALUES:,} values of this", node)
    weights[id(node)] = weight
    return weight


def _error(text: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, text, node.start_mark)
