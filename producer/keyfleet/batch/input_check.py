"""Whether an input still begins with what an earlier run has read of it."""

from __future__ import annotations

import zlib
from typing import BinaryIO

from keyfleet.batch.lines import PIECE_BYTES, Fed, new_fingerprint, open_stream
from keyfleet.errors import InputError

__all__ = ["has_more_than"]


def has_more_than(name: str, fed: Fed) -> bool:
    """Whether anything but blanks follows behind `fed`. Reads the whole prefix, at the speed of its hash.

    Raises InputError if the input is shorter, differs in what was read, or if its last line, which ended without a
    line break, has grown.
    """
    stream, source, _ = open_stream(name)
    try:
        last = _check_prefix(name, stream, fed)
        rest = stream.read(2)
        if rest and last not in (b"", b"\n") and not rest.startswith((b"\n", b"\r\n")):
            raise InputError(
                f"{name}: line {fed.line_number}, which was the last one, has grown since it was read; "
                "start anew with --overwrite"
            )
        while rest and not rest.strip():
            rest = stream.read(PIECE_BYTES)
        return bool(rest)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name}: can't be read: {error}") from error
    finally:
        stream.close()
        source.close()


def _check_prefix(name: str, stream: BinaryIO, fed: Fed) -> bytes:
    """The last byte of the prefix."""
    fingerprint = new_fingerprint()
    left, last = fed.offset, b""
    while left and (piece := stream.read(min(left, PIECE_BYTES))):
        fingerprint.update(piece)
        left -= len(piece)
        last = piece[-1:]
    if left:
        raise InputError(f"{name}: is shorter than when it was read before; start anew with --overwrite")
    if fed.offset and fingerprint.hexdigest() != fed.digest:
        raise InputError(
            f"{name}: was changed in its first {fed.line_number} lines since they were read; "
            "start anew with --overwrite, or write to another -o/--output"
        )
    return last
