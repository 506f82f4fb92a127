"""Which network does a name mean? One of timm's or of our students, a repository of the Hub, or a folder."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from annotate.errors import AnnotateError
from annotate.model.checkpoint import file_hash

# The entry points of modules that register networks with timm, among them our students (setup.cfg). So training and
# labelling do not know of each other: docs/decisions/0005-rooms.md.
_REGISTERING = "annotate.networks"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")  # in timm's order
_SUFFIXES = (".safetensors", ".pth", ".pth.tar", ".bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """The network that a name means.

    name:        as `timm.create_model` takes it on any machine: timm's own name, or "hf-hub:OWNER/NAME"
    config:      timm's `pretrained_cfg` of it, with timm's defaults for what that leaves out; empty where it has none
    arguments:   arguments of `timm.create_model` that are kept with its weights
    checkpoint:  the file of its weights, where the name was that of a folder
    class_names: the names of the classes that are kept with its weights, or None
    """

    name: str
    config: Mapping[str, Any] = field(repr=False)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None
    class_names: tuple[str, ...] | None = None

    @property
    def is_timms(self) -> bool:
        """Whether its weights are timm's own: then a thousand classes are ImageNet's, and otherwise anyone's."""
        return ":" not in self.name or self.name.startswith("hf-hub:timm/")

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width at which timm tests it, pixels."""
        size = self.config.get("test_input_size") or self.config["input_size"]
        return int(size[1]), int(size[2])


def named_model(name: str) -> NamedModel:
    """The network that a name means. Loads no weights; of a repository of the Hub, it may download the configuration.

    Raises:
        AnnotateError: there is no such network; the message has names that are near.
    """
    import timm

    source, colon, place = name.partition(":")
    source = source.lower().replace("_", "-")
    if colon and source == "hf-hub" and place:
        try:
            config, architecture, arguments = timm.models.load_model_config_from_hf(place)
        except Exception as error:  # the internet and the Hub raise exceptions of many types
            raise AnnotateError(
                f"cannot read config.json of {place} on the Hugging Face Hub: {error}\nWithout access to the internet, "
                "download the repository elsewhere and give its folder as --model local-dir:FOLDER"
            ) from error
        return _kept(f"hf-hub:{place}", config, architecture, arguments)
    if colon and source == "local-dir" and place:
        return _of_folder(Path(place).expanduser())
    if colon or "/" in name:
        raise AnnotateError(
            f"timm has no model {name!r}; names are timm's own, such as resnet50.a1_in1k, hf-hub:OWNER/NAME for the "
            "Hub, and local-dir:FOLDER for a folder with config.json and weights"
        )
    check_model_name(name)
    found = timm.get_pretrained_cfg(name)
    return NamedModel(name=name, config={} if found is None else asdict(found))


def check_model_name(name: str) -> None:
    """Refuse a name that timm does not know, or knows by another name.

    Raises:
        AnnotateError: there is no such model, or no such weights of it; the message has names that are near.
    """
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        for module in entry_points(group=_REGISTERING):
            module.load()
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else "; `timm.list_models()` lists them"
        raise AnnotateError(f"timm has no model {name!r}{hint}")
    renamed = timm.models.get_deprecated_models()
    if architecture in renamed:
        now = renamed[architecture]
        raise AnnotateError(
            f"timm has renamed the model {architecture} to {now}; give --model {now}"
            if now
            else f"timm has removed the model {architecture}; use another"
        )
    tags = [found.partition(".")[2] for found in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise AnnotateError(f"timm has no weights {tag!r} for {architecture}; it has {', '.join(tags) or 'none'}")


def _of_folder(folder: Path) -> NamedModel:
    """The network of a folder as timm writes it, config.json and weights: an architecture with a checkpoint."""
    if not (folder / "config.json").is_file():
        raise AnnotateError(
            f"there is no {folder / 'config.json'}; local-dir:FOLDER takes a folder with timm's config.json and a file "
            "of weights, such as a downloaded repository of the Hub. For weights alone: --model NAME --checkpoint FILE"
        )
    # timm reads such a file for the Hub and for folders alike, by functions of its own that it does not publish for
    # folders; the source of the weights is replaced below in any case.
    import timm
    from timm.models._hub import load_model_config_from_path

    try:
        config, architecture, arguments = load_model_config_from_path(folder)
    except Exception as error:  # a wrong file fails in many ways
        raise AnnotateError(
            f"cannot read {folder / 'config.json'}: it is no configuration of timm's ({error!r})"
        ) from error
    files = [folder / name for name in _WEIGHTS if (folder / name).is_file()][:1] or [
        path for suffix in _SUFFIXES for path in sorted(folder.glob(f"*{suffix}"))
    ]
    if len(files) != 1:
        found = ", ".join(path.name for path in files) or "none"
        raise AnnotateError(
            f"cannot tell which file of {folder} has the weights: expected {_WEIGHTS[0]} or one file of weights, found "
            f"{found}; give --model {architecture} --checkpoint FILE"
        )
    tagged = f"{architecture}.{config.get('tag')}"
    name = tagged if tagged in timm.list_pretrained() else architecture
    return _kept(name, config, architecture, arguments, files[0])


def _kept(
    name: str,
    config: Mapping[str, Any],
    architecture: str,
    arguments: Mapping[str, Any] | None,
    checkpoint: Path | None = None,
) -> NamedModel:
    """The network of a configuration that is kept with its weights."""
    from timm.models import PretrainedCfg

    check_model_name(architecture)
    names = config.get("label_names")
    return NamedModel(
        name=name,
        config=asdict(PretrainedCfg()) | {"architecture": architecture} | dict(config),
        arguments=dict(arguments or {}),
        checkpoint=checkpoint,
        class_names=tuple(map(str, names)) if isinstance(names, list | tuple) and names else None,
    )


def kept_names(checkpoint: Path) -> tuple[str, ...] | None:
    """The class names in a config.json beside a checkpoint, as timm writes both into a folder; or None."""
    try:
        found = json.loads((checkpoint.parent / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or "architecture" not in found:
        return None
    inner = found.get("pretrained_cfg")
    names = found.get("label_names") or (inner.get("label_names") if isinstance(inner, dict) else None)
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def from_the_hub(config: Mapping[str, Any]) -> dict[str, Any]:
    """The commit and the hash of the file of these weights in the Hub's cache on this machine, if it is there."""
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = (config.get("hf_hub_id") or "").partition("@")
    if not repository:
        return {}
    for name in filter(None, (config.get("hf_hub_filename"), "model.safetensors", "pytorch_model.bin")):
        cached = try_to_load_from_cache(repository, name, revision=revision or None)
        if isinstance(cached, str):
            path = Path(cached)  # …/snapshots/<commit>/<file>
            return {
                "hub": {"repository": repository, "commit": path.parent.name, "file": name, "hash": file_hash(path)}
            }
    return {}


def size_of(value: Any) -> tuple[int, int] | None:
    """Height and width of timm's argument img_size, a number or two; None where it is not given."""
    if isinstance(value, int):
        return value, value
    return (int(value[0]), int(value[1])) if isinstance(value, list | tuple) and len(value) == 2 else None


def imagenet_synsets(class_count: int) -> tuple[str, ...]:
    """ImageNet's synsets, n01440764 and so on, in the order of a network with this many classes; none if unknown."""
    import timm

    subset = timm.data.infer_imagenet_subset({"num_classes": class_count})
    return () if subset is None else tuple(timm.data.ImageNetInfo(subset).label_names())
