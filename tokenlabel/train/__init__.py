"""How is a student trained on a store? A loop to read and change: `python -m tokenlabel.train`."""
