"""Measurements of the whole project, run with `make bench`; see README.md in this folder."""
