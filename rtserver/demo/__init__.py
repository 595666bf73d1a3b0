"""`make demo`: a whistled tune through a real server in real time, left as sound, picture and figures."""
