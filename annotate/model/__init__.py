"""How does a picture become a label map? With a network, on one device; no disk and no cluster."""
