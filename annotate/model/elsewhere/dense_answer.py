"""Which dense answer has a network? Its classifier at each location, or the map that it gives itself."""

from __future__ import annotations

from typing import Any, Literal

from annotate.model.dense import DenseClassifier
from annotate.model.elsewhere.hf_network import HubNetwork
from annotate.model.elsewhere.hf_segmenter import HubSegmenter
from annotate.model.elsewhere.own_function import FunctionNetwork
from annotate.model.elsewhere.own_map import OwnMap
from annotate.model.network import Network

AnyNetwork = Network | FunctionNetwork | HubNetwork


def dense_answer(network: AnyNetwork, head: Literal["local", "frozen"]) -> tuple[DenseClassifier | OwnMap, Any]:
    """A network, built; and the provenance of its weights.

    Raises:
        AnnotateError: it cannot be built, or its head has no dense answer.
    """
    made: Any = network.build()
    provenance = network.provenance(made)
    if isinstance(network, FunctionNetwork) or isinstance(made, HubSegmenter):
        return OwnMap(made, network.model), provenance
    return DenseClassifier(made, network.model, head), provenance
