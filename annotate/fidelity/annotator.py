"""Which annotator made a store? It is built again from the store's own recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from annotate.errors import AnnotateError
from annotate.model.annotator import Annotator
from annotate.model.checkpoint import file_hash
from annotate.model.elsewhere.hf_folder import PREFIX, HubFolder
from annotate.model.elsewhere.hf_network import HubNetwork
from annotate.model.network import Network
from annotate.model.recipe import Recipe, networks_of
from storage import LabelStore

MOST = 1000  # classes that are kept of an answer


def annotator_of_store(store: LabelStore, checkpoints: Sequence[Path] = ()) -> Annotator:
    """The annotator that labelled a store, on a GPU if this machine has one.

    It keeps all classes of an answer, or the `MOST` most probable, however many the store has.

    Args:
        store: has the recipe.
        checkpoints: the files of those networks whose weights came from files, in their order; and the folders of
            networks hf:NAME, in theirs. Without any folder these are looked for by their names, as `Recipe` does.

    Raises:
        AnnotateError: the store has no recipe of ours, a file is missing or has other weights, or the network answers
            in another form than the store has.
    """
    recipe, schema = _recipe(store, checkpoints), store.schema
    known = schema.provenance.get("networks")
    annotator = Annotator(
        recipe,
        k=min(MOST, schema.class_count),
        device="cuda" if torch.cuda.is_available() else "cpu",
        measured=known,
    )
    if (annotator.grid, annotator.class_count) != (schema.grid, schema.class_count):
        raise AnnotateError(
            f"the annotator of {store.address} now gives {annotator.class_count} classes on a grid of "
            f"{annotator.grid}; the store has {schema.class_count} on {schema.grid}. Install the software that its "
            "provenance names"
        )
    for now, then in zip(annotator.provenance, known or [], strict=False):
        if now["state"] != then.get("state"):
            raise AnnotateError(
                f"the weights of {now['model']} are not those that labelled {store.address}: the hash of the loaded "
                f"weights is {now['state']}, the store has {then.get('state')}; restore the weights of the store"
            )
    return annotator


def _recipe(store: LabelStore, checkpoints: Sequence[Path]) -> Recipe:
    values: dict[str, Any] = dict(store.schema.recipe)
    if not networks_of(values):
        raise AnnotateError(
            f"{store.address} does not say which networks labelled it, as a store that was imported; crops of its "
            "pictures cannot be labelled again"
        )
    recipe = Recipe.from_json(values)
    from_files = [
        number
        for number, network in enumerate(recipe.networks)
        if isinstance(network, Network) and network.weights != "pretrained"
    ]
    files = [path for path in checkpoints if not path.is_dir()]
    if len(files) != len(from_files):
        models = ", ".join(recipe.networks[number].model for number in from_files) or "none"
        raise AnnotateError(
            f"got {len(files)} --checkpoint for the networks of {store.address} whose weights came from files: "
            f"{models}; give one file for each, in order"
        )
    networks = [*recipe.networks]
    for number, file in zip(from_files, files, strict=True):
        network = networks[number]
        if (found := file_hash(file)) != network.weights:
            raise AnnotateError(
                f"{file} has other weights than those that labelled {store.address} with {network.model}: its SHA-256 "
                f"is {found}, expected {network.weights}"
            )
        if isinstance(network, Network):
            networks[number] = replace(network, checkpoint=file.absolute())
    folders = [path for path in checkpoints if path.is_dir()]
    hub = [number for number, network in enumerate(networks) if isinstance(network, HubNetwork)]
    if folders and len(folders) != len(hub):
        raise AnnotateError(
            f"got {len(folders)} folders as --checkpoint for the networks of {store.address} that Transformers saved: "
            f"{', '.join(networks[number].model for number in hub) or 'none'}; give one folder for each, in order"
        )
    for n, number in enumerate(hub):
        networks[number] = _in_folder(networks[number], folders[n] if folders else None, store)
    return replace(recipe, networks=tuple(networks))


def _in_folder(network: Any, folder: Path | None, store: LabelStore) -> HubNetwork:
    """The network with the folder of its files: the one that is given, or else the one that its name finds."""
    try:
        files = HubFolder.of(network.model if folder is None else f"{PREFIX}{folder}")
    except AnnotateError as error:
        if folder is not None:
            raise
        raise AnnotateError(
            f"{network.model}, which labelled {store.address}, is not here; give --checkpoint FOLDER, the folder that "
            f"`save_pretrained` wrote: {error}"
        ) from error
    here: HubNetwork = replace(network, folder=files.path)
    return here
