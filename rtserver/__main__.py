"""`python -m rtserver`: the same as the `rtserver` command."""

if __name__ == "__main__":  # the audio worker's process imports this module too, and needs nothing of it
    from rtserver.cli import main

    main()
