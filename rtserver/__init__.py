"""Real-time music translation: a server, its client and its commands."""
