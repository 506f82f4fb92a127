"""How does a network find pictures of the same class? Descriptors, their losses, and their evaluation: IRT.

IRT (arXiv 2102.05644) trains the descriptor of a transformer by a contrastive loss, and KoLeo spreads descriptors out.
`python -m tokenlabel.retrieval --config FILE.toml` trains and evaluates one on a folder with a folder for each class.
"""

from tokenlabel.retrieval.descriptor import Descriptor
from tokenlabel.retrieval.evaluation import RetrievalScores, retrieval_scores
from tokenlabel.retrieval.label_weights import label_weights
from tokenlabel.retrieval.losses import (
    CrossBatchMemory,
    contrastive_loss,
    koleo_loss,
    machine_identities,
    mean_log_distance,
    positive_pairs,
)
from tokenlabel.retrieval.sampler import ClassBatches
from tokenlabel.retrieval.whitening import Whitening

__all__ = [
    "ClassBatches",
    "CrossBatchMemory",
    "Descriptor",
    "RetrievalScores",
    "Whitening",
    "contrastive_loss",
    "koleo_loss",
    "label_weights",
    "machine_identities",
    "mean_log_distance",
    "positive_pairs",
    "retrieval_scores",
]
