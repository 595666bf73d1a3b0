"""The control process: sessions, models and parameters over OSC and HTTP. It never touches audio."""
