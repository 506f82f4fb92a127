"""How well do descriptors find pictures of the same class? Recall@k, mAP and mAP@R, exact, in chunks of queries.

Recall@k   the fraction of queries with a picture of their class among the k nearest
AP         the mean, over a query's positives, of the precision at the rank of each; mAP its mean over queries
AP@R       1/R Σ_{i ≤ R} precision(i) [the i-th is positive], R the number of positives (arXiv 2003.08505)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from tokenlabel.errors import LabelError

_AT_ONCE = 1 << 22  # similarities; a chunk of them takes about 150 MB


@dataclass(frozen=True, slots=True)
class RetrievalScores:
    """What was found.

    recall:       by k, in [0, 1]
    map, map_at_r: in [0, 1]
    queries:      that have a positive
    left_out:     queries without one, which no figure counts
    """

    recall: Mapping[int, float]
    map: float
    map_at_r: float
    queries: int
    left_out: int

    def __str__(self) -> str:
        recalls = "  ".join(f"Recall@{k} {value:.4f}" for k, value in self.recall.items())
        return f"{recalls}  mAP {self.map:.4f}  mAP@R {self.map_at_r:.4f}  queries {self.queries}"


@torch.no_grad()
def retrieval_scores(
    descriptors: torch.Tensor,
    classes: torch.Tensor,
    *,
    gallery: tuple[torch.Tensor, torch.Tensor] | None = None,
    ks: Sequence[int] = (1, 2, 4, 8),
    at_once: int = _AT_ONCE,
) -> RetrievalScores:
    """Search for each descriptor among all others, or among those of a gallery, by their product.

    Equal similarities count in the order of the gallery. The memory that it takes does not grow with the number of
    queries; 10^5 among 10^5 are compared 41 at a time.

    Args:
        descriptors: float [n, d], of unit length.
        classes: int64 [n].
        gallery: descriptors [m, d] and classes [m] of other pictures; None to search among the descriptors themselves,
            each without itself.
        ks: of Recall@k.
        at_once: similarities that are computed together.

    Raises:
        LabelError: shapes do not match; a descriptor is not finite; no query has a positive.

    Example:
        >>> z = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
        >>> retrieval_scores(z, torch.tensor([0, 0, 1, 1]), ks=(1,)).recall
        {1: 0.5}
    """
    theirs, their_classes = gallery or (descriptors, classes)
    for name, z, of in (("descriptors", descriptors, classes), ("gallery", theirs, their_classes)):
        if z.ndim != 2 or of.shape != z.shape[:1]:
            raise LabelError(f"{name} [n, d] need a class for each, [n], not {list(z.shape)} and {list(of.shape)}")
        if not bool(torch.isfinite(z).all()):
            row = int((~torch.isfinite(z)).any(1).nonzero()[0])
            raise LabelError(f"row {row} of {name} is not finite, so that it is near nothing; look for it in training")
    if not ks or min(ks) < 1:
        raise LabelError(f"k of Recall@k is 1 or more, not {list(ks)}")
    rows = max(1, at_once // max(len(theirs), 1))
    hits = dict.fromkeys(ks, 0)
    precision = precision_at_r = 0.0
    queries = 0
    for start in range(0, len(descriptors), rows):
        some = slice(start, start + rows)
        similar = descriptors[some] @ theirs.T
        if gallery is None:
            similar.diagonal(start).fill_(-torch.inf)
        order = similar.argsort(dim=1, descending=True, stable=True)
        if gallery is None:
            order = order[:, :-1]  # itself, which comes last
        found = their_classes[order] == classes[some][:, None]
        positives = found.sum(1)
        found, positives = found[positives > 0], positives[positives > 0]
        queries += len(found)
        ranks = torch.arange(1, found.shape[1] + 1, device=found.device)
        precisions = found.cumsum(1, dtype=torch.int32) / ranks * found
        precision += float((precisions.sum(1, dtype=torch.float64) / positives).sum())
        within = ranks <= positives[:, None]
        precision_at_r += float(((precisions * within).sum(1, dtype=torch.float64) / positives).sum())
        for k in ks:
            hits[k] += int(found[:, :k].any(1).sum())
    if not queries:
        raise LabelError(
            f"none of {len(descriptors)} queries has another picture of its class to find; evaluate on classes with "
            "at least two pictures"
        )
    recall = {k: hit / queries for k, hit in hits.items()}
    return RetrievalScores(recall, precision / queries, precision_at_r / queries, queries, len(descriptors) - queries)
