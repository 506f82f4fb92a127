"""What does a GPU reach? `make gpu` measures it, and writes docs/gpu.md."""
