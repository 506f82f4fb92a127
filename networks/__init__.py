"""How does a network of timm's answer at each of its locations? What annotators and students share."""

__distribution__ = "tokenlabel"
