"""Scores and recordings to a training corpus: `python -m training.corpus --config training/configs/classical.toml`.

catalogue.py and works.py say what may be used and which files are one work; midi.py reads scores; performance.py plays
them as a human would and lays reels out; ensembles.py, synthesis.py, singing.py and acoustics.py make sound of them;
recordings.py takes sound as it is; storage.py keeps everything, build.py does it all in parallel.
"""

from training.corpus.storage import LABEL_HOP_SAMPLES

__all__ = ["LABEL_HOP_SAMPLES"]
