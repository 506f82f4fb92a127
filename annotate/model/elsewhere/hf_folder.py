"""Where are the files of `hf:NAME`? In a folder here, or in the Hub's cache, into which they are downloaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from annotate.errors import AnnotateError
from annotate.model.checkpoint import file_hash
from annotate.text import printable

PREFIX = "hf:"
# What of a configuration decides no label.
_NOT_COUNTED = {"id2label", "label2id", "transformers_version", "_name_or_path", "dtype", "torch_dtype"}
_WANTED = ("*.json", "*.txt", "spiece.model", "tokenizer.model", "model.safetensors", "model-*.safetensors")


@dataclass(frozen=True, slots=True)
class HubFolder:
    """The files of a network that Transformers saved.

    model: "hf:" and the name of the local folder, without its path; or OWNER/NAME, with @REVISION if it was given
    path:  where they are
    """

    model: str
    path: Path

    @classmethod
    def of(cls, model: str) -> Self:
        """Those of `hf:NAME`; a folder of this name goes before a repository of the Hub.

        Raises:
            AnnotateError: there is neither, or it cannot be downloaded, or has no configuration.
        """
        name = model.removeprefix(PREFIX)
        local = Path(name).expanduser()
        if local.is_dir():
            found = cls(f"{PREFIX}{local.resolve().name}", local.absolute())
        else:
            found = cls(model, _downloaded(name))
        if not (found.path / "config.json").is_file():
            raise AnnotateError(
                f"{found.path} has no config.json, which `save_pretrained` writes; expected a folder or repository of "
                "Transformers. For networks of timm's, give --model local-dir:FOLDER or hf-hub:OWNER/NAME"
            )
        return found

    @property
    def commit(self) -> str | None:
        """Of the Hub's repository, as its cache names the folder; None for a folder of the user's."""
        return self.path.name if self.path.parent.name == "snapshots" else None

    def config_hash(self) -> str:
        """ "sha256:" and the hash of what decides labels in config.json: all but the names of classes, and versions."""
        written = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        counted = {name: value for name, value in written.items() if name not in _NOT_COUNTED}
        return f"sha256:{hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()}"

    def weights(self) -> list[Path]:
        """The files of its weights.

        Raises:
            AnnotateError: there are none, or only pickles.
        """
        one, index = self.path / "model.safetensors", self.path / "model.safetensors.index.json"
        if one.is_file():
            return [one]
        if index.is_file():
            try:
                named = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
            except (ValueError, KeyError, AttributeError) as error:
                raise AnnotateError(f"cannot read {index}: {error!r}; expected the files of the weights") from error
            if absent := sorted(name for name in named if not (self.path / name).is_file()):
                raise AnnotateError(f"{self.model} lacks files of its weights: {', '.join(absent)}; get them again")
            return [self.path / name for name in sorted(named)]
        pickles = sorted(path.name for path in self.path.glob("*.bin"))
        why = f"only {pickles[0]}, a pickle, which can run code" if pickles else "no weights"
        raise AnnotateError(
            f"{self.model} has {why}; expected model.safetensors. Save it with "
            "`model.save_pretrained(FOLDER)`, and give hf:FOLDER"
        )

    def weights_hash(self) -> str:
        """ "sha256:" and the hash of the file of weights; of several, the hash of their names and hashes."""
        hashes = [(path.name, file_hash(path)) for path in self.weights()]
        if len(hashes) == 1:
            return hashes[0][1]
        lines = "".join(f"{name} {found}\n" for name, found in hashes)
        return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def _downloaded(name: str) -> Path:
    """The folder of this repository in the Hub's cache; its name is the commit."""
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    if repository.startswith(("/", ".", "~")) or repository.count("/") > 1:
        raise AnnotateError(
            f"there is no folder {name}, and the Hub's names are OWNER/NAME; give {PREFIX} and a folder that "
            "`save_pretrained` wrote, or a name of the Hub"
        )
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(_WANTED)))
    except Exception as error:  # the internet and the Hub raise exceptions of many types
        raise AnnotateError(
            f"cannot get {name} from the Hub, and there is no folder of this name: {type(error).__name__}: "
            f"{printable(str(error))[:300].rstrip('.')}. Without the internet, copy the folder here and give "
            f"{PREFIX}FOLDER; for a gated network, accept its terms on its page, and log in with `hf auth login`"
        ) from error
