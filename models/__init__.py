"""PyTorch definitions of the Universal Music Translation Network, used from a checkout for training and reference."""
