"""What does Transformers read from a folder that it saved? The one file that imports it.

Nothing is downloaded, no code of a repository is run, and weights are read from safetensors alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from annotate.errors import AnnotateError
from annotate.text import printable

Kind = Literal["classifier", "semantic", "universal", "encoder"]
_LONGEST = 300  # characters of an error of Transformers that are shown
_HERE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
# By the end of an architecture's name: what it gives, and the class of Transformers that loads it.
_KINDS: dict[str, tuple[Kind, str]] = {
    "ForImageClassification": ("classifier", "AutoModelForImageClassification"),
    "ForSemanticSegmentation": ("semantic", "AutoModelForSemanticSegmentation"),
    "ForUniversalSegmentation": ("universal", "AutoModelForUniversalSegmentation"),
    "MaskFormerForInstanceSegmentation": ("universal", "AutoModelForUniversalSegmentation"),
    "DetrForSegmentation": ("universal", "AutoModelForUniversalSegmentation"),
}

# Encoders of pictures and text, by the whole name of the architecture; those of SigLIP 2 with one size are SiglipModel.
ENCODERS = ("CLIPModel", "MetaClip2Model", "SiglipModel")

# Those of which no dense answer is known here, and why.
OTHER_ENCODERS = {
    "Siglip2Model": "is not supported: it takes patches of any number (NaFlex), and no input of one size. Take a "
    "SigLIP 2 whose pictures have one size, …-patch16-224 and not …-naflex",
    "Tipsv2Model": "is not supported: it has two class tokens, and its published weights lack the scale of its cosines",
}

# Files that have the words of a tokenizer.
TOKENIZERS = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")

# Networks that are asked more than a picture, by the type of their configuration.
_MORE_THAN_PICTURES = {"oneformer": "a text that names its task", "videomt": "a video"}


def read_config(folder: Path, model: str) -> Any:
    """The configuration, a `PretrainedConfig`.

    Raises:
        AnnotateError: Transformers is not installed, or cannot read it.
    """
    with _reading(model, "configuration, config.json") as transformers:
        return transformers.AutoConfig.from_pretrained(folder, **_HERE)


def read_processor(folder: Path, model: str) -> Mapping[str, Any]:
    """The settings of the processor of its pictures, with the defaults of its kind.

    Raises:
        AnnotateError: there is none, or Transformers cannot read it.
    """
    with _reading(model, "picture processor, preprocessor_config.json") as transformers:
        found: Mapping[str, Any] = transformers.AutoImageProcessor.from_pretrained(folder, **_HERE).to_dict()
        return found


def read_tokenizer(folder: Path, model: str) -> Any:
    """The tokenizer of an encoder's texts.

    Raises:
        AnnotateError: there is none, or Transformers cannot read it.
    """
    if not any((folder / name).is_file() for name in TOKENIZERS):  # Transformers would make one that knows no words
        raise AnnotateError(
            f"{model} has no tokenizer for the texts of the vocabulary: none of {', '.join(TOKENIZERS)} is in its "
            "folder. Save it there with `tokenizer.save_pretrained(FOLDER)`"
        )
    with _reading(model, "tokenizer") as transformers:
        return transformers.AutoTokenizer.from_pretrained(folder, **_HERE)


def kind_of(config: Any, model: str) -> Kind:
    """What the network of a configuration gives: classes, a map of logits, queries with masks, or embeddings.

    Raises:
        AnnotateError: something else, or the configuration names no network.
    """
    return _known(config, model)[0]


def load(folder: Path, config: Any, model: str) -> Any:
    """The network with its weights, float32, in evaluation mode on the CPU.

    Raises:
        AnnotateError: it cannot be read, or weights are missing, which Transformers would fill at random.
    """
    loader, options = _known(config, model)[1], {"dtype": "float32", "use_safetensors": True, **_HERE}
    with _reading(model, f"network, {config.architectures[0]}") as transformers:
        network, about = getattr(transformers, loader).from_pretrained(folder, output_loading_info=True, **options)
    if missing := sorted(map(str, (*about["missing_keys"], *about["mismatched_keys"]))):
        raise AnnotateError(
            f"the weights of {model} lack {len(missing)} tensors of {type(network).__name__}, or have them in other "
            f"shapes: {', '.join(missing[:5])}. They would be random; give a folder whose weights belong to its config"
        )
    return network.eval()


def _known(config: Any, model: str) -> tuple[Kind, str]:
    if (more := _MORE_THAN_PICTURES.get(config.model_type)) is not None:
        raise AnnotateError(
            f"{model} labels no pictures alone: a network of the type {config.model_type} also takes {more}. Give "
            "another segmenter, or write a function of yours for it (--model MODULE:FUNCTION)"
        )
    named = [str(name) for name in getattr(config, "architectures", None) or ()]
    if named and named[0] in ENCODERS:
        return "encoder", "AutoModel"
    for end, known in _KINDS.items():
        if named and named[0].endswith(end):
            return known
    raise AnnotateError(
        f"{model} labels no pictures: its config.json names {', '.join(named) or 'no network'} in architectures; "
        f"expected a name that ends in {', '.join(_KINDS)}. Give an image classifier or a segmenter, or with "
        f"--vocabulary an encoder of pictures and text: {', '.join(ENCODERS)}"
    )


@contextmanager
def _reading(model: str, what: str) -> Iterator[Any]:
    """Transformers, without its progress bars; what it raises becomes an error that names the model."""
    try:
        import transformers
    except ImportError as error:
        raise AnnotateError(
            f"cannot use {model}: Transformers is not installed ({error}). Install it with pip install 'tokenlabel[hf]'"
        ) from error
    log = transformers.utils.logging
    level, had_bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield transformers
    except AnnotateError:
        raise
    except ImportError as error:  # a tokenizer may need a library that Transformers alone does not bring
        raise AnnotateError(
            f"cannot read the {what} of {model}: {_shown(error)}. Install all that networks of Transformers need with "
            "pip install 'tokenlabel[hf]'"
        ) from error
    except Exception as error:  # it raises exceptions of many types
        raise AnnotateError(f"cannot read the {what} of {model}: {_shown(error)}") from error
    finally:
        log.set_verbosity(level)
        if had_bars:
            log.enable_progress_bar()


def _shown(error: Exception) -> str:
    """What an error of Transformers says, in one line."""
    return f"{type(error).__name__}: {printable(' '.join(str(error).split()))[:_LONGEST]}"
