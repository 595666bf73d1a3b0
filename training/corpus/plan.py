"""What a corpus consists of: its reels, and each reel in some timbres, before anything is rendered."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from training.corpus import recordings, soundfonts
from training.corpus.catalogue import SPLITS, Work, check_splits, read_catalogue
from training.corpus.performance import Reel, make_reels, polyphonic_reels
from training.corpus.settings import CorpusSettings, DomainSettings
from training.corpus.synthesis import MONOPHONIC, is_sampled

RENDERING = 2  # rises when the same settings make another sound
RENDERINGS = {"sung": 3}  # instruments that changed alone
MELODY = "melody"
RECORDING = "recordings:"
UNSEEN = "unseen"
SPLIT_ORDER = ("train", "valid", "test", UNSEEN)


@dataclass(frozen=True)
class Item:
    """One reel in one timbre. settings: all that its sound depends on; source: a recording's file."""

    timbre: str
    settings: dict[str, Any]
    soundfont: Path | None = None
    source: Path | None = None


@dataclass(frozen=True)
class PlannedReel:
    """A reel, whose music was chosen for `home`, and what it is rendered in."""

    reel: Reel
    home: str
    items: list[Item] = field(default_factory=list)

    @property
    def entry(self) -> dict[str, Any]:
        """Its row of index.json."""
        works = [{k: v for k, v in asdict(w).items() if k in ("path", "work", "licence", "credit")} for w in self.works]
        return {
            "name": self.reel.name,
            "split": self.reel.split,
            "home": self.home,
            "seconds": round(self.reel.seconds, 3) if self.reel.notes else None,
            "timbres": [item.timbre for item in self.items],
            "works": works,
        }

    @property
    def works(self) -> list[Work]:
        return list(dict.fromkeys(self.reel.works))


def plan(settings: CorpusSettings, pool: Executor) -> list[PlannedReel]:
    """All reels of a corpus, melodies and all domains in turn, so that a part of it has some of everything.

    Raises ValueError if a work were on both sides of a split, RuntimeError if a soundfont is needed that isn't there.
    """
    scores = Path(settings.midi_folder) if settings.midi_folder else None
    jobs = []
    for number, split in enumerate(SPLITS):
        if settings.reels.get(split):
            works = read_catalogue(settings.score_domains, split, scores)
            jobs.append((MELODY, pool.submit(_melodies, split, works, settings, number)))
    for name, domain in settings.domains.items():
        for split in SPLITS:
            if domain.hours.get(split):
                jobs.append((name, pool.submit(_passages, name, split, domain, settings)))
    reels = [(home, reel) for home, job in jobs for reel in job.result()]
    fonts = _fonts(settings)
    planned = [_with_items(reel, home, settings, fonts) for home, reel in reels]
    planned += _unseen(planned, settings)
    planned += [r for name in settings.instruments for r in _recordings(name, settings)]
    check_splits(replace(w, split=_side(p.reel.split)) for p in planned for w in p.works)
    turn: dict[tuple[str, str], int] = {}
    order = []
    for p in planned:
        key = (p.home, p.reel.split)
        turn[key] = turn.get(key, -1) + 1
        order.append((turn[key], p.home != MELODY, SPLIT_ORDER.index(p.reel.split)))
    return [planned[i] for i in sorted(range(len(planned)), key=lambda i: order[i])]


def _side(split: str) -> str:
    return "test" if split == UNSEEN else split


def _melodies(split: str, works: list[Work], settings: CorpusSettings, number: int) -> list[Reel]:
    pitches = settings.lowest_pitch, settings.highest_pitch
    made = make_reels(works, settings.reel_seconds, settings.reels[split], 100 + number, *pitches)
    return [Reel(f"{MELODY}_{split}_{r:02d}", split, notes, used) for r, (notes, used) in enumerate(made)]


def _passages(name: str, split: str, domain: DomainSettings, settings: CorpusSettings) -> list[Reel]:
    scores = Path(settings.midi_folder) if settings.midi_folder else None
    groups = [read_catalogue(group.split("+"), split, scores) for group in domain.scores]
    if scores is not None:
        groups = groups[:1]
    seed = _number(f"{settings.seed}/{name}/{split}")
    return polyphonic_reels(name, split, groups, domain.hours[split], settings.reel_seconds, seed)


def _number(text: str) -> int:
    return zlib.crc32(text.encode())


def _fonts(settings: CorpusSettings) -> list[Path]:
    if not any(is_sampled(instrument) for instrument in settings.instruments.values()):
        return []
    return soundfonts.find(settings.soundfonts)


def _with_items(reel: Reel, home: str, settings: CorpusSettings, fonts: list[Path]) -> PlannedReel:
    """Melodies in every timbre; other music in its home's, and in `also` of the others that can play chords in turn."""
    names = [n for n, spec in settings.instruments.items() if not spec.startswith(RECORDING)]
    if home != MELODY:
        others = [n for n in names if n != home and settings.instruments[n] not in MONOPHONIC]
        turn = int(reel.name.rsplit("_", 1)[1]) * settings.also + _number(home)
        names = [home, *(others[(turn + i) % len(others)] for i in range(min(settings.also, len(others))))]
    items = [_item(reel, name, settings, fonts) for name in names]
    return PlannedReel(reel, home, items)


def _item(reel: Reel, name: str, settings: CorpusSettings, fonts: list[Path]) -> Item:
    instrument = settings.instruments[name]
    of_item: dict[str, Any] = {
        "version": RENDERINGS.get(instrument, RENDERING),
        "instrument": instrument,
        "seconds": round(reel.seconds, 6),
        "seed": _number(f"{settings.seed}/{reel.name}/{name}"),
        "varied": settings.varied and name not in settings.dry,
        "notes": notes_hash(reel),
    }
    if not is_sampled(instrument):
        return Item(name, of_item)
    font = fonts[(int(reel.name.rsplit("_", 1)[1]) + _number(name)) % len(fonts)]
    of_item |= {"soundfont": font.name, "soundfont_bytes": font.stat().st_size}
    return Item(name, of_item, soundfont=font)


def notes_hash(reel: Reel) -> str:
    rows = ((n.onset_s, n.end_s, n.pitch, n.velocity, n.part) for n in reel.notes)
    return hashlib.sha256("".join(f"{a:.6f} {b:.6f} {c} {d} {e};" for a, b, c, d, e in rows).encode()).hexdigest()[:16]


def _unseen(planned: Iterable[PlannedReel], settings: CorpusSettings) -> list[PlannedReel]:
    """The test reels once more, in the soundfont that is kept for testing; none if it isn't there."""
    if not settings.test_soundfont:
        return []
    try:
        fonts = soundfonts.find([settings.test_soundfont])
    except RuntimeError:
        return []
    if fonts[0] in _fonts(settings):
        return []
    out = []
    for p in planned:
        if p.reel.split == "test":
            reel = replace(p.reel, name=p.reel.name.replace("_test_", f"_{UNSEEN}_"), split=UNSEEN)
            sampled = [i.timbre for i in p.items if is_sampled(settings.instruments[i.timbre])]
            out.append(PlannedReel(reel, p.home, [_item(reel, name, settings, fonts) for name in sampled]))
    return out


def _recordings(name: str, settings: CorpusSettings) -> list[PlannedReel]:
    """Each file of a folder of recordings is a reel of its own, without notes."""
    spec = settings.instruments[name]
    if not spec.startswith(RECORDING):
        return []
    folder = Path(spec.removeprefix(RECORDING)).expanduser()
    out = []
    for split, files in recordings.split_files(recordings.list_files(folder)).items():
        for number, path in enumerate(files):
            relative = str(path.relative_to(folder))
            work = Work(relative, name, split, "own", folder.name, f"{name}/{relative}", str(folder))
            content = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            item = Item(name, {"version": RENDERING, "instrument": RECORDING, "content": content}, source=path)
            out.append(PlannedReel(Reel(f"{name}_{split}_{number:02d}", split, [], [work]), name, [item]))
    return out
