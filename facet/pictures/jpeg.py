"""The structure of a JPEG, which its decoder trusts too much, and tells too little of.

libjpeg goes through the whole picture for every scan, however empty, so that a small file can keep it busy for hours.
It paints grey what a scan lacks.
"""

import re
from dataclasses import dataclass, field

from facet.errors import ImageError

MAX_SCANS = 100
"""A progressive JPEG has some ten scans."""

SIGNATURE = b"\xff\xd8\xff"
EOI = b"\xff\xd9"

_MAX_SEGMENTS = 20_000
# Bytes of 255 fill up, a 0 after one makes it data, and restart markers stand within a scan.
_MARKER = re.compile(rb"(?<!\xff)\xff++([^\x00\x01\xd0-\xd8\xff])")
_SOS, _EOI, _JPEG_LS = 0xDA, 0xD9, 0xF7
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {_JPEG_LS}
_LOSSLESS, _PROGRESSIVE, _HIERARCHICAL = (0xC3, 0xCB), (0xC2, 0xCA), (*range(0xC5, 0xC8), *range(0xCD, 0xD0))

_NOISE = b"\xb6\x5a" + bytes(range(1, 0xF0))
"""It begins with a 1, since libjpeg goes on with 0 where data are missing."""
_RESTARTS = [bytes([0xFF, 0xD0 + number]) for number in range(8)]


@dataclass(slots=True)
class Structure:
    """What the markers of a JPEG tell. `ended`: an EOI follows its scans; else `end` is that of its last whole piece.

    `starts`: where the data of those scans begin and end that give pixels their first values. Those are all, but of a
    progressive picture only the first of each colour's means.
    """

    scans: int = 0
    starts: list[tuple[int, int]] = field(default_factory=list)
    ended: bool = False
    end: int = 0
    frame: int = 0
    precision: int = 8
    height: int = 0
    components: frozenset[int] = frozenset()
    started: frozenset[int] = frozenset()
    last_starts: bool = False

    @property
    def lossless(self) -> bool:
        return self.frame in _LOSSLESS

    @property
    def lacks_components(self) -> bool:
        """Whether a whole colour is missing: no scan begins it."""
        return not self.components <= self.started

    @property
    def doubtful(self) -> bool:
        """Whether the last scan may be cut where that leaves no trace: it gives pixels their first values, and nothing
        tells that it is all there, or it is that of one colour alone, or what is missing is not grey."""
        return self.last_starts and (not self.ended or self.scans > 1 or self.lossless or self.frame in _PROGRESSIVE)

    @property
    def unread(self) -> str | None:
        """What it is, if that is a kind that neither OpenCV nor Pillow reads."""
        if self.frame == _JPEG_LS:
            return "a JPEG-LS picture"
        if self.frame in _HIERARCHICAL:
            return "a hierarchical JPEG"
        if self.frame and self.precision != 8:
            return f"a {'lossless ' if self.lossless else ''}{self.precision}-bit JPEG"
        if self.frame == 0xCB:
            return "a lossless JPEG with arithmetic coding"
        if self.frame and self.height == 0:
            return "a JPEG that tells its height only behind its pixels (DNL)"
        if self.frame and len(self.components) not in (1, 3, 4):
            return f"a JPEG of {len(self.components)} channels"
        return None

    def _frame(self, marker: int, segment: bytes) -> None:
        self.frame, self.precision, self.height = marker, segment[0], int.from_bytes(segment[1:3])
        self.components = frozenset(segment[6 : 6 + 3 * segment[5] : 3])

    def _scan(self, segment: bytes) -> None:
        self.scans += 1
        count = segment[0]
        named = frozenset(segment[1 : 1 + 2 * count : 2])
        start, _, approximation = segment[1 + 2 * count : 4 + 2 * count]
        self.last_starts = self.frame not in _PROGRESSIVE or (start == 0 and approximation >> 4 == 0)
        if self.last_starts:
            self.started |= named


def read_structure(data: bytes) -> Structure:
    """Raises ImageError `undecodable` for a file of too many pieces, or of a broken one."""
    structure, at = Structure(end=len(data)), 2
    for _ in range(_MAX_SEGMENTS):
        marker = _MARKER.search(data, at)
        if marker is None or marker[1][0] == _EOI:
            structure.ended = marker is not None
            return structure
        length = max(int.from_bytes(data[marker.end() : marker.end() + 2]), 2)
        if marker.end() + length > len(data):
            structure.end = marker.start()
            return structure
        segment, at = data[marker.end() + 2 : marker.end() + length], marker.end() + length
        try:
            if marker[1][0] in _FRAMES and not structure.frame:
                structure._frame(marker[1][0], segment)
            elif marker[1][0] == _SOS:
                structure._scan(segment)
                following = _MARKER.search(data, at)
                begin, at = at, following.start() if following else max(at, len(data.rstrip(b"\xff")))
                if structure.last_starts:
                    structure.starts.append((begin, at))
        except (IndexError, ValueError) as error:
            raise ImageError("undecodable", "The JPEG file has a segment that is broken.") from error
        if structure.scans > MAX_SCANS:
            raise ImageError("undecodable", f"The JPEG file has more than {MAX_SCANS} scans.")
    raise ImageError("undecodable", "The JPEG file has too many segments.")


def with_noise(data: bytes, structure: Structure) -> bytes:
    """The file with noise behind each scan that starts pixels, which a decoder uses only where the scan ends early."""
    pieces, at = [], 0
    for begin, end in structure.starts:
        pieces += [data[at:end], _noise_behind(data, begin, end)]
        at = end
    return b"".join([*pieces, data[at:]])


def _noise_behind(data: bytes, begin: int, end: int) -> bytes:
    """Data that go on with a scan, at any of its restart markers: the one that it waits for comes first."""
    found = [data.rfind(marker, begin, end) for marker in _RESTARTS]
    following = found.index(max(found)) + 1 if max(found) >= 0 else 0
    pieces = [_RESTARTS[(following + number) % 8] + _NOISE for number in range(8)]
    return b"".join([_NOISE, *pieces])
