"""The cache of prepared weights: a pack that was read and checked once is mapped from then on, without torch.

An entry is a file of `prepared_format`, named by the SHA-256 of the pack's bytes, in a folder that only its user may
enter. It is written under another name and renamed, so that it is there whole or not at all, whoever writes at the same
time. An entry that can't be trusted (of another user, writable by others, damaged, of another version) is removed and
made again. A cache that can't be written costs time at the next start and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import sys
import tempfile
import time
from dataclasses import replace
from mmap import ACCESS_READ, mmap
from pathlib import Path

from rtserver import model_file, prepared_format
from rtserver.model_file import Model
from rtserver.precision import calibration_for, is_complete, resolve
from rtserver.prepared_format import Damaged
from rtserver.safe_load import MAX_FILE_BYTES

log = logging.getLogger(__name__)

VARIABLE = "RTSERVER_CACHE"  # another folder; `off`: none
MAX_TOTAL_BYTES = 2 << 30  # of all entries; the least recently used go first
ABANDONED_SECONDS = 3600.0  # a partial file so old has no writer any more
_SUFFIX = f".v{prepared_format.VERSION}.prepared"
_PARTIAL = ".partial-"
# Follows no link, and doesn't wait for whoever may write into a pipe.
_OPEN_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))

_warned = False


def folder() -> Path | None:
    """Where entries are kept on this platform, or where RTSERVER_CACHE says; None when it says `off`."""
    told = os.environ.get(VARIABLE, "")
    if told == "off":
        return None
    if told:
        return Path(told).expanduser()
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home
        return None
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "rtserver" / "prepared"


def load(path_or_name: str | os.PathLike[str], precision: str = "fp32") -> Model:
    """What `model_file.load` gives, with a calibration if `precision` needs one: from the cache, or now and kept there.

    precision: as `rtserver.precision.check` gives it. UserError says what is wrong with the pack.
    """
    if os.fspath(path_or_name) in model_file.PROBES:
        return model_file.load(path_or_name)
    found = find(model_file.find(path_or_name), precision)
    if found is not None:
        return found[0]
    model = read_pack(path_or_name, precision)
    try:
        store(model)
    except NotKept as error:
        warn_once(str(error))
    return model


def read_pack(path_or_name: str | os.PathLike[str], precision: str) -> Model:
    """Read a pack itself, which needs torch, and calibrate it if the precision needs that and the pack isn't."""
    model = model_file.load(path_or_name)
    return replace(model, calibration=calibration_for(model, precision))


def find(pack: Path, precision: str = "fp32") -> tuple[Model, Path] | None:
    """The model of a pack and its entry, if there is one that can be used. Never raises for a bad entry or pack."""
    place = folder()
    if place is None:
        return None
    try:
        with pack.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                return None
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None  # reading the pack itself will tell why
    entry = place / (sha256 + _SUFFIX)
    try:
        model = prepared_format.read(map_entry(entry), pack, sha256)
    except OSError:  # most often: it isn't there
        return None
    except (ValueError, Damaged) as error:
        log.info("prepared weights %s are not used: %s", entry.name, error)
        with contextlib.suppress(OSError):
            entry.unlink()
        return None
    if not is_complete(model, resolve(precision, model)):
        return None
    with contextlib.suppress(OSError):
        os.utime(entry)  # when it was last used
    return model, entry


class ImageGone(Exception):
    """A prepared file is not there any more, or not as it was."""


def open_image(image: str | bytes, pack: Path, sha256: str) -> Model:
    """The model in a prepared file that `find` or `store` named, or in the bytes of one. Raises ImageGone.

    The checksum was compared by whoever found the file; everything else is checked again.
    """
    try:
        mapped = map_entry(Path(image)) if isinstance(image, str) else image
        return prepared_format.read(mapped, pack, sha256, check_sum=False)
    except (OSError, ValueError, Damaged) as error:
        raise ImageGone(f"prepared weights can't be used: {error}") from None


def map_entry(entry: Path) -> mmap:
    """Map an entry for reading. OSError if it can't be; Damaged if it isn't a plain file of this user's alone."""
    descriptor = os.open(entry, _OPEN_FLAGS)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Damaged("it is not a plain file")
        if os.name == "posix" and (found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077):
            raise Damaged(f"user {found.st_uid} and mode {stat.S_IMODE(found.st_mode):o}, expected ours and 600")
        if not prepared_format.ALIGNMENT <= found.st_size <= prepared_format.MAX_BYTES:
            raise Damaged(f"{found.st_size} bytes")
        return mmap(descriptor, found.st_size, access=ACCESS_READ)
    finally:
        os.close(descriptor)


class NotKept(Exception):
    """An entry could not be written; the message says where and why."""


def store(model: Model) -> Path:
    """Write the entry of a model; gives where it lies. Raises NotKept."""
    place = folder()
    if place is None:
        raise NotKept("")
    try:
        return _write(model, place)
    except (OSError, Damaged) as error:
        raise NotKept(f"prepared weights can't be kept in {place} ({error}): every start takes longer") from None


def warn_once(why_not: str) -> None:
    """Log a warning, if there is one and none was logged before."""
    global _warned
    if why_not and not _warned:
        log.warning("%s", why_not)
        _warned = True


def _write(model: Model, place: Path) -> Path:
    _make_own(place)
    entry = place / (model.sha256 + _SUFFIX)
    descriptor, partial = tempfile.mkstemp(prefix=_PARTIAL, dir=place)  # mode 600
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in prepared_format.pieces(model):
                file.write(piece)
        os.replace(partial, entry)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise
    prune(place, entry)
    return entry


def _make_own(place: Path) -> None:
    """The folder, for its user only. OSError if it can't be had, or is open to others: it may be more than a cache."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.mkdir(mode=0o700, exist_ok=True)
    if os.name != "posix":
        return
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"it is not a folder of user {os.geteuid()}")
    if stat.S_IMODE(found.st_mode) & 0o022:
        raise PermissionError("others may write there; make it mode 700")


def prune(place: Path, newest: Path) -> None:
    """Remove the least recently used entries above MAX_TOTAL_BYTES, and what writers that were killed left behind."""
    entries: list[tuple[float, int, Path]] = []
    for path in place.iterdir():
        with contextlib.suppress(OSError):
            found = path.lstat()
            if path.name.startswith(_PARTIAL):
                if time.time() - found.st_mtime > ABANDONED_SECONDS:
                    path.unlink()
            elif path.suffix == ".prepared" and path != newest:
                entries.append((found.st_mtime, found.st_size, path))
    total = newest.lstat().st_size + sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= MAX_TOTAL_BYTES:
            break
        with contextlib.suppress(OSError):  # mapped, on Windows
            path.unlink()
            total -= size
