"""What teaches descriptors? Pairs that belong together or not, of the batch and of a memory; and KoLeo."""

from tokenlabel.retrieval.losses.contrastive import contrastive_loss
from tokenlabel.retrieval.losses.koleo import koleo_loss, mean_log_distance
from tokenlabel.retrieval.losses.memory import CrossBatchMemory
from tokenlabel.retrieval.losses.positives import machine_identities, positive_pairs

__all__ = [
    "CrossBatchMemory",
    "contrastive_loss",
    "koleo_loss",
    "machine_identities",
    "mean_log_distance",
    "positive_pairs",
]
