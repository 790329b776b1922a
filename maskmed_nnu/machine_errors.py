"""Failures of the machine, not of the data, as one sentence: permissions, full disks, drives that went away, memory."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from maskmed_nnu.atomic_write import PARTIAL

AGAIN, CHOOSE = "run the same command again", "choose another path"
CAUSES = {
    ("there is no permission to use it", f"change its permissions, or {CHOOSE}"): (errno.EACCES, errno.EPERM),
    ("the disk is full", f"free some space, and {AGAIN}"): (errno.ENOSPC,),
    ("your quota on that disk is used up", f"free some space, and {AGAIN}"): (errno.EDQUOT,),
    ("it is below a file where a folder is needed", CHOOSE): (errno.ENOTDIR,),
    ("it is a folder, where a file is needed", CHOOSE): (errno.EISDIR,),
    ("it is a file, where a folder is needed", f"move it away, or {CHOOSE}"): (errno.EEXIST,),
    ("that disk is read-only", CHOOSE): (errno.EROFS,),
    (
        "it, or its folder, does not exist (any more)",
        "check the path, and that its disk is connected",
    ): (errno.ENOENT,),
    ("its name, or its path, is too long", "choose shorter names"): (errno.ENAMETOOLONG,),
    ("it is larger than the largest file on that disk", CHOOSE): (errno.EFBIG,),
    ("its links form a loop", "correct the links"): (errno.ELOOP,),
    ("too many files are open", "raise the limit (ulimit -n)"): (errno.EMFILE, errno.ENFILE),
    ("another program uses it", "close that program"): (errno.EBUSY, errno.ETXTBSY),
    ("memory is used up", "close other programs, or take smaller images"): (errno.ENOMEM,),
    ("the disk does not respond", f"check the disk or the network, and {AGAIN}"): (
        *(errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.ESTALE, errno.EHOSTDOWN),
        *(errno.EHOSTUNREACH, errno.ECONNRESET, errno.ENETDOWN, errno.ENETUNREACH, errno.ENOLINK),
    ),
}


def explain(error: OSError | MemoryError, *, again: str = AGAIN) -> str:
    """What could not be done, why, and what to do; ``again`` is how the command goes on.

    >>> explain(PermissionError(errno.EACCES, "Permission denied", "/data/.7.partial.a.png"))
    '/data/a.png cannot be used: there is no permission to use it; change its permissions, or choose another path.'
    """
    if isinstance(error, MemoryError):
        detail = f" ({error})" if str(error) else ""
        return f"Memory is used up{detail}; close other programs, or take smaller images or a machine with more."
    names = [PARTIAL.sub("", str(name)) for name in (error.filename, error.filename2) if name is not None]
    what = names[-1] if names else "A file"
    special = not names and error.errno is not None and error.strerror != os.strerror(error.errno)
    for (cause, cure), numbers in CAUSES.items():
        if error.errno in numbers and not special:
            return f"{what} cannot be used: {cause}{_room(error, what)}; {cure.replace(AGAIN, again)}."
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return f"{what} cannot be read or written ({reason}); check the disk and its free space, or {CHOOSE}."


def _room(error: OSError, path: str) -> str:
    """How much was needed, and what is left of an earlier file, where `atomic_write` has noted it."""
    noted = vars(error)
    if "written" not in noted:
        return ""
    written, needed = noted["written"], noted["needed"]
    parts = [f"{_size(needed)} are needed"] if needed is not None and needed > written else []
    parts = parts or ([f"more than {_size(written)} are needed"] if written else [])
    if error.errno == errno.ENOSPC:
        with suppress(OSError):
            parts.append(f"{_size(shutil.disk_usage(Path(path).parent).free)} are free")
    left = "the file that was there before is intact" if noted["intact"] else "no part of it is left"
    return f" ({', '.join(parts)}{'; ' if parts else ''}{left})"


def _size(number: int) -> str:
    """
    >>> _size(1234), _size(2_500_000)
    ('1.2 kB', '2.5 MB')
    """
    return f"{number / 1e6:,.1f} MB" if number >= 1e6 else f"{number / 1e3:,.1f} kB"
