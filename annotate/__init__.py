"""How do pictures become label maps? With pretrained networks, into a store, by any number of workers.

A name is imported when it is first used, so that `import annotate` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import tokenlabel_entry  # noqa: F401, it checks whose packages Python finds

__distribution__ = "tokenlabel"

if TYPE_CHECKING:
    from annotate.cluster.ray_workers import RayWorkers
    from annotate.errors import AnnotateError, PictureError
    from annotate.images.address import open_images
    from annotate.images.source import ImageSource
    from annotate.jobs.calibrate import Calibration, calibrate
    from annotate.jobs.plan import Plan, plan
    from annotate.jobs.run import run
    from annotate.jobs.summary import Summary
    from annotate.jobs.workers import LocalWorkers, Workers
    from annotate.locality.measure import Locality
    from annotate.model.annotator import Annotator
    from annotate.model.convert_checkpoint import convert_checkpoint
    from annotate.model.elsewhere.hf_network import HubNetwork
    from annotate.model.elsewhere.own_function import DenseNetwork, FunctionNetwork
    from annotate.model.elsewhere.vocabulary import Vocabulary
    from annotate.model.network import Network
    from annotate.model.recipe import Recipe

_FILE_OF = {
    "AnnotateError": "errors",
    "Annotator": "model.annotator",
    "Calibration": "jobs.calibrate",
    "DenseNetwork": "model.elsewhere.own_function",
    "FunctionNetwork": "model.elsewhere.own_function",
    "HubNetwork": "model.elsewhere.hf_network",
    "ImageSource": "images.source",
    "LocalWorkers": "jobs.workers",
    "Locality": "locality.measure",
    "Network": "model.network",
    "PictureError": "errors",
    "Plan": "jobs.plan",
    "RayWorkers": "cluster.ray_workers",
    "Recipe": "model.recipe",
    "Summary": "jobs.summary",
    "Vocabulary": "model.elsewhere.vocabulary",
    "Workers": "jobs.workers",
    "calibrate": "jobs.calibrate",
    "convert_checkpoint": "model.convert_checkpoint",
    "open_images": "images.address",
    "plan": "jobs.plan",
    "run": "jobs.run",
}

__all__ = [
    "AnnotateError",
    "Annotator",
    "Calibration",
    "DenseNetwork",
    "FunctionNetwork",
    "HubNetwork",
    "ImageSource",
    "LocalWorkers",
    "Locality",
    "Network",
    "PictureError",
    "Plan",
    "RayWorkers",
    "Recipe",
    "Summary",
    "Vocabulary",
    "Workers",
    "calibrate",
    "convert_checkpoint",
    "open_images",
    "plan",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module 'annotate' has no attribute {name!r}")
    return getattr(import_module(f"annotate.{_FILE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
