"""`python -m training.evaluate`: see training/evaluate/command.py."""

from training.evaluate.command import main

if __name__ == "__main__":
    main()
