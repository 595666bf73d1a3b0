"""How good is a pack? `python -m training.evaluate --model piano.pt --json`; docs/evaluation.md tells what is measured.

held_out.py: losses and pitch. table2.py and its measures: tracks.py (the paper's), notes.py (onsets and notes),
domains.py and frechet.py (does it sound like its target), all on material.py. latents.py: the paper's Fig. 3; seam.py:
blending. report.py writes it all down, command.py is the command line.
"""
