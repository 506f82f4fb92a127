"""Which networks of Transformers do the tests label with? Small random ones, as their own library saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

NAMES = {0: "cat", 1: "dog", 2: "tree"}
SIZES = {"vit": (32, 64), "dinov2": (32, 64), "swin": (32, 64), "segformer": (32, 64), "eomt": (32, 32)}
_TRANSFORMER = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 4,
    "initializer_range": 0.3,
}
_PYRAMID = {
    "num_encoder_blocks": 2,
    "depths": [1, 1],
    "hidden_sizes": [8, 16],
    "num_attention_heads": [1, 2],
    "sr_ratios": [2, 1],
    "patch_sizes": [7, 3],
    "strides": [4, 2],
    "mlp_ratios": [2, 2],
    "decoder_hidden_size": 8,
    "initializer_range": 0.3,
}
_SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
_NETWORKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "vit": ("ViTConfig", "ViTForImageClassification", _TRANSFORMER),
    "deit": ("DeiTConfig", "DeiTForImageClassification", _TRANSFORMER),  # with a distilled token, which has no place
    "registers": (
        "Dinov2WithRegistersConfig",
        "Dinov2WithRegistersForImageClassification",
        _TRANSFORMER | {"num_register_tokens": 3},
    ),
    "dinov2": ("Dinov2Config", "Dinov2ForImageClassification", _TRANSFORMER),
    "swin": ("SwinConfig", "SwinForImageClassification", _SWIN | {"initializer_range": 0.3}),
    "beit": ("BeitConfig", "BeitForImageClassification", _TRANSFORMER),
    "resnet": (
        "ResNetConfig",
        "ResNetForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    ),
    "poolformer": (
        "PoolFormerConfig",
        "PoolFormerForImageClassification",
        {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]},
    ),
    "masked": ("ViTConfig", "ViTForMaskedImageModeling", _TRANSFORMER | {"encoder_stride": 4}),
    "segformer": ("SegformerConfig", "SegformerForSemanticSegmentation", _PYRAMID),
    "eomt": (
        "EomtConfig",
        "EomtForUniversalSegmentation",
        _TRANSFORMER | {"num_blocks": 1, "num_queries": 4, "num_upscale_blocks": 1},
    ),
    "detr": (
        "DetrConfig",
        "DetrForSegmentation",
        {
            "d_model": 16,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 8,  # its maps of attention are normed in groups of 8
            "decoder_attention_heads": 8,
            "encoder_ffn_dim": 16,
            "decoder_ffn_dim": 16,
            "num_queries": 4,
            "backbone_config": {
                "model_type": "resnet",
                "embedding_size": 8,
                "hidden_sizes": [8, 8, 16, 16],
                "depths": [1, 1, 1, 1],
                "layer_type": "basic",
                "out_features": ["stage1", "stage2", "stage3", "stage4"],
            },
        },
    ),
}


def saved(folder: Path, kind: str, names: dict[int, str] | None = NAMES, **processor: Any) -> Path:
    """The folder of a network; `processor` changes settings of its processor."""
    import transformers

    config, network, settings = _NETWORKS[kind]
    labels = {"num_labels": 3} if names is None else {"id2label": names, "label2id": {v: k for k, v in names.items()}}
    torch.manual_seed(0)
    getattr(transformers, network)(getattr(transformers, config)(**settings, **labels)).save_pretrained(folder)
    height, width = SIZES.get(kind, (32, 64))
    if kind == "eomt":
        made = transformers.EomtImageProcessor(size={"shortest_edge": height, "longest_edge": width}, do_pad=True)
    elif kind == "detr":
        made = transformers.DetrImageProcessor(size={"height": height, "width": width})
    else:
        made = transformers.ViTImageProcessor(size={"height": height, "width": width}, image_mean=[0.4, 0.5, 0.6])
    made.save_pretrained(folder)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | processor))
    return folder


def noise(seed: int, size: tuple[int, int] = (32, 64)) -> np.ndarray:
    """A picture of random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
