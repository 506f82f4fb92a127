"""How does an encoder of pictures and text label every location? As a classifier whose weights are its texts.

    pixels ──the picture's tower──▶ tokens ──its own pooling──▶ x ──▶ x / ‖x‖ · texts · scale + bias

It has the form of timm's networks, so that the heads for a class token (CLIP) and for attention pooling (SigLIP) answer
at each location, and `DenseClassifier` measures them, as for all networks. A vector of length 1 is what an RMS norm
gives, up to √d, and so `frozen` holds that length as it holds other norms.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers import AttentionPoolLatent
from torch import nn

from annotate.errors import AnnotateError
from annotate.model.elsewhere.hf_classifier import of_size
from annotate.model.elsewhere.vocabulary import Vocabulary

_BATCH = 64  # texts that are read together


class HubEncoder(nn.Module):
    """The base of encoders as classifiers, in the form of timm's networks.

    named_classes: how many of its classes have a name; those after them are the background

    Args:
        model: the encoder of Transformers.
        texts: an embedding of length 1 for each name and background name, [n, D].
        vocabulary: these.
    """

    def __init__(self, model: Any, texts: NDArray[np.float32], vocabulary: Vocabulary) -> None:
        super().__init__()
        self.model = model
        self.class_names = vocabulary.names
        self.named_classes = len(vocabulary.names)
        self.scale = float(model.logit_scale.detach().exp())
        self.bias = float(model.logit_bias.detach()) if hasattr(model, "logit_bias") else 0.0
        rows, biases = torch.from_numpy(texts) * self.scale, [self.bias] * len(texts)
        if vocabulary.threshold is not None:
            rows = torch.cat([rows, torch.zeros_like(rows[:1])])
            own = vocabulary.threshold == "own"
            biases.append(0.0 if own else self.scale * float(vocabulary.threshold) + self.bias)
        self.num_classes, width = rows.shape
        linear = _Texts(width, self.num_classes)
        linear.weight.data, linear.bias.data = rows / math.sqrt(width), torch.tensor(biases)
        self.classifier = nn.Sequential(nn.RMSNorm(width, eps=1e-12, elementwise_affine=False), linear)

    @staticmethod
    def of(model: Any, name: str, texts: NDArray[np.float32], vocabulary: Vocabulary) -> HubEncoder:
        """The encoder, by what its picture's tower ends with.

        Raises:
            AnnotateError: it ends in no way that is known, or has no threshold of its own where that is asked.
        """
        if vocabulary.threshold == "own" and not hasattr(model, "logit_bias"):
            raise AnnotateError(
                f"the encoder {name} has no threshold of its own: it learned to order texts, and not whether one is "
                "true, as SigLIP did. Give --threshold COSINE, or names of a background"
            )
        if hasattr(model, "visual_projection"):
            return _OfClassToken(model, texts, vocabulary)
        if getattr(model.vision_model, "use_head", False):
            return _OfQuery(model, texts, vocabulary)
        raise AnnotateError(
            f"the encoder {name} pools its picture in no way that is known here: expected CLIP or SigLIP"
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Its own logits for the whole picture, [b, names and background]."""
        given = of_size(self.model.vision_model, self.model.config.vision_config, pixels)
        logits: torch.Tensor = self.classifier(self.model.get_image_features(pixels, **given).pooler_output)
        return logits


class _OfClassToken(HubEncoder):
    """CLIP: a class token, which is normed and projected."""

    global_pool = "token"
    num_prefix_tokens = 1

    def __init__(self, model: Any, texts: NDArray[np.float32], vocabulary: Vocabulary) -> None:
        super().__init__(model, texts, vocabulary)
        self.blocks = nn.ModuleList(map(_Block, model.vision_model.encoder.layers))
        self.norm = model.vision_model.post_layernorm

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """The tokens after its blocks and its norm, [b, 1 + N, C]."""
        tower = self.model.vision_model
        tokens = tower.embeddings(pixels, **of_size(tower.embeddings, self.model.config.vision_config, pixels))
        tokens = tower.pre_layrnorm(tokens)
        for block in self.blocks:
            tokens = block(tokens)
        features: torch.Tensor = self.norm(tokens)
        return features

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """What the texts say of the class token."""
        logits: torch.Tensor = self.classifier(self.model.visual_projection(features[:, 0]))
        return logits


class _OfQuery(HubEncoder):
    """SigLIP: a query that looks at all tokens. Its pool is timm's own, with the same weights."""

    num_prefix_tokens = 0

    def __init__(self, model: Any, texts: NDArray[np.float32], vocabulary: Vocabulary) -> None:
        super().__init__(model, texts, vocabulary)
        own = model.vision_model.head
        width = own.probe.shape[-1]
        self.attn_pool = AttentionPoolLatent(width, num_heads=own.attention.num_heads, norm_layer=nn.LayerNorm)
        self.attn_pool.latent.data = own.probe.data
        for layer, part in ((self.attn_pool.q, slice(width)), (self.attn_pool.kv, slice(width, None))):
            layer.weight.data = own.attention.in_proj_weight.data[part]
            layer.bias.data = own.attention.in_proj_bias.data[part]
        self.attn_pool.proj, self.attn_pool.norm, self.attn_pool.mlp = own.attention.out_proj, own.layernorm, own.mlp

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """The tokens after the tower's norm, [b, N, C]."""
        tower = self.model.vision_model
        features: torch.Tensor = tower(
            pixels, **of_size(tower, self.model.config.vision_config, pixels)
        ).last_hidden_state
        return features

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        """What the texts say of what the query gets from the tokens."""
        logits: torch.Tensor = self.classifier(self.attn_pool(features))
        return logits


class _Texts(nn.Linear):
    """The texts, asked in full precision: bfloat16 has logits of CLIP's scale, 100, in steps of 0.125."""

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """What each text says of an embedding of any precision."""
        with torch.autocast(embedding.device.type, enabled=False):
            return super().forward(embedding.to(self.weight.dtype))


class _Block(nn.Module):
    """A block of Transformers that is given tokens alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The next tokens."""
        answer: torch.Tensor = self.layer(tokens, attention_mask=None)
        return answer


@torch.no_grad()
def embedded(model: Any, tokenizer: Any, vocabulary: Vocabulary, name: str) -> NDArray[np.float32]:
    """The embeddings of names and background, [n, D]: the mean of those of its texts, all of length 1.

    Computed in float64, so that every machine gets the same `texts_hash`.

    Args:
        model: the encoder; it is as before afterwards.
        tokenizer: its own.
        vocabulary: the names and their texts.
        name: of the model in errors.

    Raises:
        AnnotateError: a text is too long, has what the tokenizer does not know, or gives NaN; or it reads two names as
            the same text.
    """
    length = model.config.text_config.max_position_embeddings
    texts = vocabulary.texts()
    flat = [text for each in texts for text in each]
    found: list[torch.Tensor] = []
    read: list[Sequence[int]] = []
    model.double()
    try:
        for start in range(0, len(flat), _BATCH):
            batch = flat[start : start + _BATCH]
            tokens = tokenizer(batch)["input_ids"]
            _check_read(tokenizer, batch, tokens, length, name)
            read += tokens
            padded = tokenizer(batch, padding="max_length", max_length=length, return_tensors="pt")
            found.append(nn.functional.normalize(model.get_text_features(**padded).pooler_output, dim=-1))
    except AnnotateError:
        raise
    except Exception as error:  # tokenizers and networks raise exceptions of many types
        raise AnnotateError(
            f"{name} cannot read the texts of the vocabulary: {type(error).__name__}: {error}. Its tokenizer may not "
            "be the one of its text tower"
        ) from error
    finally:
        model.float()
    _check_apart(vocabulary, [*map(len, texts)], read, name)
    of_names = torch.cat(found).split([len(each) for each in texts])
    means = torch.stack([nn.functional.normalize(each.mean(0), dim=0) for each in of_names])
    if not means.isfinite().all():
        raise AnnotateError(f"the text tower of {name} gives NaN or infinity for the vocabulary")
    result: NDArray[np.float32] = means.float().numpy()
    return result


def _check_read(tokenizer: Any, texts: Sequence[str], tokens: Sequence[Sequence[int]], length: int, name: str) -> None:
    """Refuse texts that are too long, or of which the tokenizer reads nothing, or knows a part only as "unknown"."""
    unknown, nothing = tokenizer.unk_token_id, tokenizer("")["input_ids"]
    if unknown in nothing:  # CLIP's ends every text, and knows all
        unknown = None
    for text, each in zip(texts, tokens, strict=True):
        if each == nothing:
            raise AnnotateError(
                f"the tokenizer of {name} reads nothing of the text {text!r:.80} of the vocabulary, such as "
                "punctuation alone. Write it in other words, NAME: PROMPT"
            )
        if len(each) > length:
            raise AnnotateError(
                f"the text {text!r:.80} of the vocabulary is too long for {name}: it has {len(each)} tokens, and the "
                f"text tower takes {length}. Shorten the prompt or the template"
            )
        if unknown is not None and unknown in each:
            raise AnnotateError(
                f"the text {text!r:.80} of the vocabulary has what the tokenizer of {name} does not know, such as "
                "another script than it was made for. Write it in other words, NAME: PROMPT"
            )


def _check_apart(vocabulary: Vocabulary, counts: Sequence[int], tokens: Sequence[Sequence[int]], name: str) -> None:
    """Refuse two names whose texts are the same tokens, as Cat and cat may be: each would have half a probability."""
    rest, first = iter(tokens), dict[tuple[tuple[int, ...], ...], str]()
    for called, count in zip((*vocabulary.names, *vocabulary.background), counts, strict=True):
        read = tuple(sorted(tuple(each) for each in itertools.islice(rest, count)))
        if (other := first.setdefault(read, called)) != called:
            raise AnnotateError(
                f"{name} reads {other!r} and {called!r} of the vocabulary as the same text, so that they would share "
                "one probability. Give one of them, or other prompts to one"
            )


def texts_hash(texts: NDArray[np.float32]) -> str:
    """ "sha256:" and the hash of the embeddings to the fifth decimal, which the last bits do not reach."""
    rounded = np.round(texts.astype(np.float64) * 1e5).astype("<i4")
    return f"sha256:{hashlib.sha256(repr(rounded.shape).encode() + rounded.tobytes()).hexdigest()}"
