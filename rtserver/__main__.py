"""`python -m rtserver`: the same as the `rtserver` command."""

from rtserver.cli import main

if __name__ == "__main__":
    main()
