"""A reader of TensorBoard's event files, from the formats' definitions: TFRecord frames, protocol buffers."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

Fields = dict[int, list[bytes | int]]


@dataclass
class Events:
    """What one file holds."""

    scalars: dict[str, list[tuple[float, int, float]]] = field(default_factory=dict)  # wall time, step, value
    images: dict[str, list[tuple[float, int, bytes]]] = field(default_factory=dict)  # wall time, step, file
    plugins: list[bytes] = field(default_factory=list)  # contents of hyperparameters' records


def read_events(path: Path) -> Events:
    """All records of a file, whose first must name the version."""
    events, (first, *others) = Events(), map(_fields, _records(path.read_bytes()))
    assert first[3] == [b"brain.Event:2"]
    for event in others:
        time, step = _double(event[1][0]), event.get(2, [0])[0]
        assert isinstance(step, int)
        for value in _messages(event, 5):
            for one in _messages(value, 1):
                (tag,) = one[1]
                assert isinstance(tag, bytes)
                if 2 in one:
                    events.scalars.setdefault(tag.decode(), []).append((time, step, _float(one[2][0])))
                for image in _messages(one, 4):
                    (file,) = image[4]
                    assert isinstance(file, bytes)
                    events.images.setdefault(tag.decode(), []).append((time, step, file))
                for metadata in _messages(one, 9):
                    events.plugins += [_bytes(plugin[2][0]) for plugin in _messages(metadata, 1)]
    return events


def _records(content: bytes) -> Iterator[bytes]:
    """Frames: length, its checksum, data, their checksum."""
    place = 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        data = content[place + 12 : place + 12 + length]
        assert struct.unpack_from("<I", content, place + 8) == (_masked(content[place : place + 8]),)
        assert struct.unpack_from("<I", content, place + 12 + length) == (_masked(data),)
        yield data
        place += 16 + length


def _masked(data: bytes) -> int:
    """CRC-32C, bit by bit, rotated and shifted as TFRecord has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _fields(message: bytes) -> Fields:
    """Field number -> values: varints as numbers, all others as bytes."""
    fields: Fields = {}
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        value: bytes | int
        match key & 7:
            case 0:
                value, place = _varint(message, place)
            case 2:
                length, place = _varint(message, place)
                value, place = message[place : place + length], place + length
            case kind:
                size = {1: 8, 5: 4}[kind]
                value, place = message[place : place + size], place + size
        fields.setdefault(key >> 3, []).append(value)
    return fields


def _varint(message: bytes, place: int) -> tuple[int, int]:
    number, shift = 0, 0
    while True:
        byte = message[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place


def _messages(fields: Fields, number: int) -> list[Fields]:
    return [_fields(_bytes(value)) for value in fields.get(number, [])]


def _bytes(value: bytes | int) -> bytes:
    assert isinstance(value, bytes)
    return value


def _double(value: bytes | int) -> float:
    return float(struct.unpack("<d", _bytes(value))[0])


def _float(value: bytes | int) -> float:
    return float(struct.unpack("<f", _bytes(value))[0])
