"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write_whole(path: Path, content: str | bytes, *, durable: bool = True, mode: int = 0o666) -> None:
    """Replace a file: whoever reads it, even after a crash, finds the old content or the new, never a part.

    Args:
        path: in a folder that exists.
        content: text goes out as UTF-8, its line ends as they are.
        durable: on the disk when this returns. Without it, a power cut may bring the old content back.
        mode: permissions, less the umask.

    Raises:
        OSError: no room, no folder, no permission; the old content stands.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{threading.get_native_id()}")
    temporary.unlink(missing_ok=True)  # of a thread that was killed
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
