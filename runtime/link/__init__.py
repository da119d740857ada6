"""A recorded link replayed between two processes, and how faithfully."""
