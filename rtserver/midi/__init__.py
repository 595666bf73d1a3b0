"""MIDI for `rtserver live`: ports and sockets in, a performer's actions out."""
