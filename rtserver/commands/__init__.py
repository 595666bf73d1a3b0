"""The subcommands of `rtserver`, one a module; each has `register(app)` and imports what is heavy when it runs."""
