"""`python -m training.corpus`: see training/corpus/build.py."""

from training.corpus.build import main

if __name__ == "__main__":
    main()
