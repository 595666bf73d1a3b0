"""What this machine can do: one module a subject, each giving `Check`s; `rtserver doctor` prints them."""
