"""What is rendered: the table [corpus] of `training/configs/*.toml`, checked before anything starts."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

CORPORA = Path(__file__).parents[1] / "corpora"
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class DomainSettings:
    """Music for one domain. scores: domains of the catalogue, in the order in which they are used up (`A+B`: mixed);
    hours: of unique music, a split."""

    scores: tuple[str, ...]
    hours: dict[str, float]


@dataclass(frozen=True)
class CorpusSettings:
    """What is rendered.

    instruments: name -> `program:N`, `ensemble:NAME`, `whistle`, `sung`, `additive` or `recordings:FOLDER`.
    score_domains, reels, reel_seconds: melodies of one voice, how many reels a split; every instrument plays them all.
    lowest_pitch, highest_pitch: MIDI pitches that melodies are transposed between.
    domains: music of all parts, which the domain's instrument plays and `also` others in turn.
    soundfonts: alternate from reel to reel (see soundfonts.find); test_soundfont plays the split `unseen` alone: the
    test reels in sounds that training never heard. varied: with random equalisation and rooms, except for the
    instruments in `dry`: what decoders learn to say had better not be in a hundred rooms.
    midi_folder: a folder of MIDI files that stands in for the shipped scores.
    """

    name: str
    score_domains: tuple[str, ...] = ()
    instruments: dict[str, str] = field(default_factory=dict)
    reels: dict[str, int] = field(default_factory=dict)
    reel_seconds: float = 600.0
    lowest_pitch: int = 50
    highest_pitch: int = 96
    domains: dict[str, DomainSettings] = field(default_factory=dict)
    also: int = 2
    soundfonts: tuple[str, ...] = ("FluidR3_GM.sf2",)
    test_soundfont: str = ""
    varied: bool = False
    dry: tuple[str, ...] = ()
    midi_folder: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        for split in (*self.reels, *(s for d in self.domains.values() for s in d.hours)):
            if split not in SPLITS:
                raise ValueError(f"reels and hours: expected the splits {', '.join(SPLITS)}, found {split!r}")
        for name in self.domains:
            if name not in self.instruments:
                raise ValueError(f"domains.{name}: not one of the instruments")
        for name in self.instruments:
            if "." in name or "/" in name:
                raise ValueError(f"instruments.{name}: a name becomes part of a file name, without . and /")
        for name in self.dry:
            if name not in self.instruments:
                raise ValueError(f"dry: {name!r} is not one of the instruments")
        # A melody is folded into the range by octaves, and half a dozen semitones at each end keep its middle inside.
        if not 0 < self.lowest_pitch <= self.highest_pitch - 24 <= 127 - 24:
            raise ValueError("lowest_pitch and highest_pitch: expected MIDI pitches of 1 to 127, two octaves apart")
        if self.reel_seconds <= 0 or self.also < 0:
            raise ValueError("reel_seconds and also: expected more than 0, and 0 or more")

    @property
    def folder(self) -> Path:
        return CORPORA / self.name

    @classmethod
    def read(cls, path: Path) -> CorpusSettings:
        """The table [corpus] of a TOML file, or of the one beside it that `corpus = "..."` names; what else is there is
        not looked at. OSError, ValueError or TypeError say what is wrong with it."""
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8")).get("corpus")
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: not TOML: {error}") from None
        if isinstance(table, str):
            return cls.read(path.parent / table)
        if not isinstance(table, dict):
            raise ValueError(f"{path}: [corpus] is missing")
        return cls.of(table, f"{path}: corpus.")

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str = "corpus.") -> CorpusSettings:
        """From the table [corpus] of a TOML file. TypeError or ValueError name the field, after `where`."""
        values = _checked(cls, table, where)
        domains = {
            name: DomainSettings(**_checked(DomainSettings, domain, f"{where}domains.{name}."))
            for name, domain in values.pop("domains", {}).items()
        }
        try:
            return cls(**values, domains=domains)
        except ValueError as error:
            raise ValueError(f"{where}{error}") from None


# What a field's annotation asks of the TOML value.
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "str": ((str,), "a text"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "bool": ((bool,), "true or false"),
    "tuple": ((list,), "a list"),
    "dict": ((dict,), "a table"),
}


def _checked(kind: type[Any], table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values of a dataclass's fields; lists become tuples."""
    known = {f.name: f for f in fields(kind)}
    values = {}
    for name, value in table.items():
        if name not in known:
            raise TypeError(f"{where}{name}: unknown field; there are {', '.join(known)}")
        types, expected = _KINDS[str(known[name].type).partition("[")[0]]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise TypeError(f"{where}{name}: expected {expected}, found {value!r}")
        values[name] = tuple(value) if isinstance(value, list) else value
    for name, one in known.items():
        if name not in values and one.default is MISSING and one.default_factory is MISSING:
            raise ValueError(f"{where}{name}: missing")
    return values
