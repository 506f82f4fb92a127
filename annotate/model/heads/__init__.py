"""How does a network's own head answer at each location? One file for each kind of head; `Head` is their contract."""
