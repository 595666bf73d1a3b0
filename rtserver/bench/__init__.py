"""What `rtserver bench` measures; each module is one bench and can be called from Python."""
