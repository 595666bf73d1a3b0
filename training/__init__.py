"""Offline training of music-translation models: corpora, datasets, training, export, evaluation."""
