"""Which score files are one work: `python -m training.corpus.works` fills the columns work and split of scores.csv.

Movements are found by the folder that they were published in. Editions and arrangements of the same music, which may
have been published anywhere and in any key, are found by their notes: long runs of the same intervals in the highest or
the lowest voice. A work on several sides of the split keeps those that were held out, and the others get no split.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations, pairwise
from pathlib import PurePosixPath

from training.corpus.catalogue import DATA, Work, read_score
from training.corpus.midi import Note, read_notes

# Twelve intervals that aren't all alike rarely come twice by chance; scales and broken chords are in every collection,
# so a run that is in more than six files counts for none, and a pair shares at least eight and a quarter of the
# shorter file's. (With a twentieth, a book of trumpet studies joins sonatas, quartets and symphonies into one.)
RUN = 12
COMMON = 6
SHARED_RUNS, SHARED_SHARE = 8, 0.25
EXCLUDED = "none"
# The catalogue came with two short movements as all its orchestra to test with.
MOVED = {"BrahmsJ/Symphony_No.3,_Op.90": "test", "BeethovenLv/Symphony_No.8,_Op.93": "valid"}


def fingerprint(notes: Iterable[Note]) -> set[tuple[int, ...]]:
    """Runs of intervals in the highest and in the lowest voice, which a transposition or another tempo leaves alone."""
    runs: set[tuple[int, ...]] = set()
    for choose in (max, min):
        line: dict[int, int] = {}
        for note in notes:
            at = round(note.onset_s * 50)
            line[at] = choose(line.get(at, note.pitch), note.pitch)
        pitches = [line[at] for at in sorted(line)]
        moved = [p for i, p in enumerate(pitches) if i == 0 or p != pitches[i - 1]]
        steps = [b - a for a, b in pairwise(moved)]
        candidates = (tuple(steps[i : i + RUN]) for i in range(len(steps) - RUN + 1))
        runs |= {run for run in candidates if len(set(run)) > 3}
    return runs


def same_music(fingerprints: dict[str, set[tuple[int, ...]]]) -> list[tuple[str, str]]:
    """Pairs of files that share more than chance would have them share."""
    holders: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for path, runs in sorted(fingerprints.items()):
        for run in runs:
            holders[run].append(path)
    shared = Counter(pair for paths in holders.values() if 1 < len(paths) <= COMMON for pair in combinations(paths, 2))
    out = []
    for (a, b), count in shared.items():
        shorter = min(len(fingerprints[a]), len(fingerprints[b]))
        if count >= max(SHARED_RUNS, SHARED_SHARE * shorter):
            out.append((a, b))
    return out


def group(names: dict[str, str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """path -> work: files of the same name are one, and so are pairs; the first name in the alphabet stands for all."""
    parent = {name: name for name in names.values()}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for a, b in pairs:
        first, second = sorted((root(names[a]), root(names[b])))
        parent[second] = first
    return {path: root(name) for path, name in names.items()}


def published_as(row: dict[str, str]) -> str:
    """Composer and folder of publication; songs of no cycle lie in a folder `_` and stand for themselves."""
    parts = PurePosixPath(row["source_path"]).parts
    folder = parts[2] if parts[2] != "_" else parts[3]
    return f"{row['composer']}/{folder}"


def settle(splits: dict[str, str], works: dict[str, str]) -> dict[str, str]:
    """path -> split, with no work on two sides: what was held out stays so, what would leak into it is left out."""
    sides: dict[str, set[str]] = defaultdict(set)
    for path, work in works.items():
        sides[work].add(splits[path])
    out = {}
    for path, work in works.items():
        kept = next(s for s in ("test", "valid", "train", EXCLUDED) if s in sides[work])
        out[path] = splits[path] if splits[path] == kept else EXCLUDED
    return out


def _read(row: dict[str, str]) -> set[tuple[int, ...]]:
    return fingerprint(read_notes(read_score(Work(row["path"], row["domain"], "", "", ""))))


def main() -> None:
    path = DATA / "scores.csv"
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with ProcessPoolExecutor() as pool:
        prints = dict(zip((r["path"] for r in rows), pool.map(_read, rows, chunksize=20), strict=True))
    works = group({r["path"]: published_as(r) for r in rows}, same_music(prints))
    splits = settle({r["path"]: MOVED.get(published_as(r), r["split"]) for r in rows}, works)
    for row in rows:
        if splits[row["path"]] != row["split"]:
            print(f"{row['path']}: {row['split']} -> {splits[row['path']]} (the same work as {works[row['path']]})")
        row["work"], row["split"] = works[row["path"]], splits[row["path"]]
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
