"""`rtserver live`: microphone to headphones through a server, with a screen and keys."""
