"""TFRecord files and the `tf.train.Example`s in them, without TensorFlow: lengths, checksums, and one protocol message.

A record is its length (8 bytes), a checksum of that (4), its bytes, and a checksum of those (4). Checksums are CRC-32C,
masked; an `Example` has lists of bytes, floats and whole numbers by name.
"""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.data.recordings.importing import ImportProblem

LARGEST = 2**31
"""Bytes of a record at most: no protocol message is longer."""


def records(path: Path) -> Iterator[bytes | ImportProblem]:
    """The records of a file, and a problem in place of each that is not what its checksum says.

    Raises ImportProblem where nothing behind can be found any more, since a length is broken or the file ends.
    """
    from google_crc32c import value as crc32c

    try:
        with path.open("rb") as file:
            number = 0
            while head := file.read(12):
                about = f"{path}: record {number}"
                if len(head) < 12 or _masked(crc32c(head[:8])) != struct.unpack("<I", head[8:])[0]:
                    raise ImportProblem(f"{about}: its length is damaged, and nothing behind it can be found")
                (length,) = struct.unpack("<Q", head[:8])
                content = file.read(length) if length < LARGEST else b""
                tail = file.read(4)
                if len(content) < length or len(tail) < 4:
                    raise ImportProblem(f"{about}: the file ends within it")
                if _masked(crc32c(content)) != struct.unpack("<I", tail)[0]:
                    yield ImportProblem(f"{about}: its bytes are not those that its checksum is of")
                else:
                    yield content
                number += 1
    except (OSError, MemoryError) as error:
        raise ImportProblem(f"{path}: the file cannot be read: {error}") from error


def framed(content: bytes) -> bytes:
    """A record as it stands in a file."""
    from google_crc32c import value as crc32c

    length = struct.pack("<Q", len(content))
    checks = [struct.pack("<I", _masked(crc32c(part))) for part in (length, content)]
    return length + checks[0] + content + checks[1]


def features_of(content: bytes) -> Mapping[str, list[Any]]:
    """The lists of an Example, by name. Raises ImportProblem."""
    from google.protobuf.message import DecodeError

    example = example_message()
    try:
        example.ParseFromString(content)
    except (DecodeError, ValueError) as error:
        raise ImportProblem(f"it is no tf.train.Example: {error}") from None
    found = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        found[name] = list(getattr(feature, kind).value) if kind else []
    return found


def example_message() -> Any:
    """An empty `tf.train.Example`."""
    global _Example
    if _Example is None:
        _Example = _described()
    return _Example()


_Example: Any = None


def _described() -> Any:
    """The class of the message, from its published description (tensorflow/core/example/example.proto)."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="recorded", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name: str, parent: Any = file) -> Any:
        one = (parent.message_type if parent is file else parent.nested_type).add()
        one.name = name
        return one

    def field(one: Any, name: str, number: int, kind: int, repeated: bool = False, of: str = "") -> Any:
        label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
        return one.field.add(
            name=name, number=number, type=kind, label=label, type_name=f".recorded.{of}" if of else None
        )

    lists = (("bytes", kinds.TYPE_BYTES), ("float", kinds.TYPE_FLOAT), ("int64", kinds.TYPE_INT64))
    for name, kind in lists:
        field(message(f"{name.capitalize()}List"), "value", 1, kind, repeated=True)
    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, _) in enumerate(lists, start=1):
        one = field(feature, f"{name}_list", number, kinds.TYPE_MESSAGE, of=f"{name.capitalize()}List")
        one.oneof_index = 0
    features = message("Features")
    entry = message("FeatureEntry", features)
    entry.options.map_entry = True
    field(entry, "key", 1, kinds.TYPE_STRING)
    field(entry, "value", 2, kinds.TYPE_MESSAGE, of="Feature")
    field(features, "feature", 1, kinds.TYPE_MESSAGE, repeated=True, of="Features.FeatureEntry")
    field(message("Example"), "features", 1, kinds.TYPE_MESSAGE, of="Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("recorded.Example"))


def _masked(checksum: int) -> int:
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
