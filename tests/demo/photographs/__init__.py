"""Does the first act of the demo do what README says? Checkpoints, boxes, figures and the picture."""
