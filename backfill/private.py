"""What a run leaves on disk is its owner's alone, and nothing in it is a symbolic link.

Files are made 0600 in folders 0700; here is what looks at those that were there before.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from backfill.errors import UsageError

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def secure(folder: Path) -> None:
    """Take from others what they may do with a stream's folder; do nothing where there is none.

    Raises UsageError where it or anything in it is a symbolic link: what is written to a link is
    written elsewhere, over whatever stands there.
    """
    _secure(folder)
    for top, folders, files in os.walk(folder):
        for name in (*folders, *files):
            _secure(Path(top, name))


def _secure(path: Path) -> None:
    refuse_link(path)
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # there is none, or another run is at work there: the lock, asked for next, tells
    if mode & OTHERS:
        try:
            path.chmod(stat.S_IMODE(mode) & ~OTHERS)
        except FileNotFoundError:
            return
        except OSError as fault:
            what = f"others may use this, and that cannot be changed: {fault.strerror}"
            raise UsageError(what, where=path, fix="choose another folder with --state") from None


def refuse_link(path: Path) -> None:
    """Raise UsageError where a path is a symbolic link."""
    if path.is_symlink():
        fix = "remove it, or move what it points to into its place"
        raise UsageError("this is a symbolic link, nothing is written to it", where=path, fix=fix)


def warning_of_folder(folder: Path) -> str | None:
    """Return what to say where others may put files into a folder. It is the user's: it stays."""
    if folder.is_dir() and (mode := folder.stat().st_mode) & OTHERS_WRITE:
        what = f"others may write to this folder (mode {stat.S_IMODE(mode):04o})"
        return f"warning: {folder}: {what}\n  fix: chmod 700 {folder}"
    return None


def warning_of_secret(path: Path) -> str | None:
    """Return what to say where others may read or change a file that holds the write key."""
    if path.is_file() and (mode := path.stat().st_mode) & OTHERS:  # a pipe is no file
        what = f"others may read the write key in this file (mode {stat.S_IMODE(mode):04o})"
        return f"warning: {path}: {what}\n  fix: chmod 600 {path}"
    return None
