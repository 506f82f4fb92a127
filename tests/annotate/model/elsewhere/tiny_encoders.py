"""Which encoders of pictures and text do the tests label with? Small random ones, with a tokenizer of ten words."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch

WORDS = ["<pad>", "<eos>", "<unk>", "a", "photo", "of", "cat", "dog", "tree", "couch", "sky", "wall"]
_TOWER = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.3,
}
_VISION = _TOWER | {"image_size": 32, "patch_size": 4}
_TEXT = _TOWER | {
    "vocab_size": len(WORDS),
    "max_position_embeddings": 8,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "bos_token_id": 2,
}


def saved_encoder(folder: Path, kind: str = "clip", *, size: tuple[int, int] = (32, 64)) -> Path:
    """The folder of an encoder of a kind: clip, metaclip or siglip."""
    import transformers

    torch.manual_seed(0)
    if kind == "siglip":
        texts = _TEXT | {"projection_size": 16}
        made = transformers.SiglipModel(transformers.SiglipConfig(vision_config=_VISION, text_config=texts))
        made.vision_model.head.probe.data.normal_(std=3)  # so that it looks at some locations more than at others
        made.vision_model.head.attention.in_proj_weight.data.normal_(std=0.3)
        made.logit_scale.data.fill_(2.0)
        made.logit_bias.data.fill_(-3.0)
    else:
        name = {"clip": "CLIP", "metaclip": "MetaClip2"}[kind]
        parts = {"vision_config": _VISION | {"projection_dim": 12}, "text_config": _TEXT | {"projection_dim": 12}}
        config = getattr(transformers, f"{name}Config")(**parts, projection_dim=12)
        made = getattr(transformers, f"{name}Model")(config)
        made.visual_projection.weight.data.normal_()
        made.text_projection.weight.data.normal_()
    made.eval().save_pretrained(folder)
    processor = transformers.ViTImageProcessor(
        size={"height": size[0], "width": size[1]}, image_mean=[0.4, 0.5, 0.6], resample=3
    )
    processor.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_tokenizer(folder: Path, words: list[str] = WORDS) -> None:
    """A tokenizer that knows these words and ends a text with <eos>."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)


def save_sentencepiece(folder: Path) -> None:
    """The tokenizer of the same words in the form that SigLIP 1 has: it reads small letters without punctuation."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS[3:])] * 20),
        model_writer=written,
        model_type="word",
        vocab_size=len(WORDS),
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    (folder / "spiece.model").write_bytes(written.getvalue())
    (folder / "tokenizer.json").unlink()
    about = {"tokenizer_class": "SiglipTokenizer", "model_max_length": 8, "pad_token": "</s>"}
    about |= {"model_input_names": ["input_ids"]}  # its text tower also looks at the padding
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
