"""Arrays on the wire: a header in the JSON, the numbers as one raw frame, bounded before anything is parsed."""

from __future__ import annotations

import hashlib
import math
import sys
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from instruments.errors import ProtocolError

if TYPE_CHECKING:
    import numpy as np

ITEM_BYTES = {"float64": 8, "float32": 4, "int64": 8, "int32": 4, "uint32": 4, "uint16": 2, "uint8": 1}
MAX_ARRAYS = 16
MAX_FRAME_BYTES = 32 << 20
"""Longest raw frame; also the sockets' ``maxmsgsize``."""
MAX_REPORT_BYTES = 64 << 20


class ArrayHeader(BaseModel):
    """What a raw frame holds, little-endian and in C order."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200)]
    dtype: Literal["float64", "float32", "int64", "int32", "uint32", "uint16", "uint8"]
    shape: tuple[Annotated[int, Field(ge=0, le=1 << 26)], ...] = Field(max_length=8)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @property
    def nbytes(self) -> int:
        """Bytes that the frame must have."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


def check_frames(headers: Sequence[ArrayHeader], frames: Sequence[bytes]) -> None:
    """Raise ProtocolError unless the frames are exactly what the headers say, digests included."""
    if len(headers) != len(frames):
        raise ProtocolError(f"{len(headers)} array headers but {len(frames)} raw frames")
    total = 0
    for header, frame in zip(headers, frames, strict=True):
        total += len(frame)
        if header.nbytes != len(frame):
            raise ProtocolError(f"array {header.name!r}: {len(frame)} bytes, its header says {header.nbytes}")
        if len(frame) > MAX_FRAME_BYTES or total > MAX_REPORT_BYTES:
            raise ProtocolError(
                f"array {header.name!r}: too large; at most {MAX_FRAME_BYTES} bytes an array, {MAX_REPORT_BYTES} in all"
            )
    for header, frame in zip(headers, frames, strict=True):
        if hashlib.sha256(frame).hexdigest() != header.sha256:
            raise ProtocolError(f"array {header.name!r}: its SHA-256 is not the header's; it was damaged on the way")


def from_array(name: str, value: Any) -> tuple[ArrayHeader, bytes]:
    """Return header and raw frame of a numpy array or a (nested, rectangular) list of numbers.

    Raises:
        ProtocolError: ragged, not numeric, or too large.
    """
    if hasattr(value, "dtype") and hasattr(value, "tobytes"):
        dtype, shape = str(value.dtype.name), tuple(int(n) for n in value.shape)
        if dtype not in ITEM_BYTES:
            raise ProtocolError(f"array {name!r}: dtype {dtype}; allowed are {', '.join(ITEM_BYTES)}")
        frame = value.astype(value.dtype.newbyteorder("<")).tobytes()
    else:
        dtype, shape = "float64", _shape(name, value)
        flat: list[Any] = [value] if not shape else list(value)
        for _ in shape[1:]:
            flat = [x for row in flat for x in row]
        try:
            numbers = array("d", flat)
        except (TypeError, ValueError) as error:
            raise ProtocolError(f"array {name!r}: not numeric ({error})") from None
        if sys.byteorder == "big":
            numbers.byteswap()
        frame = numbers.tobytes()
    if len(frame) > MAX_FRAME_BYTES:
        raise ProtocolError(f"array {name!r}: {len(frame)} bytes; at most {MAX_FRAME_BYTES} are allowed")
    return ArrayHeader(name=name, dtype=dtype, shape=shape, sha256=hashlib.sha256(frame).hexdigest()), frame  # type: ignore[arg-type]


def to_array(header: ArrayHeader, frame: bytes) -> np.ndarray:
    """Return the read-only numpy array of a frame that ``check_frames`` has passed."""
    import numpy as np

    return np.frombuffer(frame, dtype=np.dtype(header.dtype).newbyteorder("<")).reshape(header.shape)


def _shape(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple):
        return ()
    inner = {_shape(name, item) for item in value}
    if len(inner) > 1:
        raise ProtocolError(f"array {name!r}: rows of different lengths")
    return (len(value), *(inner.pop() if inner else ()))
