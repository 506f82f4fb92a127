"""What does each family of timm answer at every location? `python -m benchmarks.annotate.families [--write FILE.md]`

Each network gets random, nontrivial weights, and is checked as `annotate` checks it before a job.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import timm
import torch
from torch import nn
from tqdm import tqdm

from annotate.errors import AnnotateError
from annotate.model.dense import DenseClassifier
from demo.markdown import table

# All of timm's modules; of each, the smallest network with each kind of head. The first one is in the tests.
FAMILIES = {
    "beit": "beit_base_patch16_224 beitv2_base_patch16_224",
    "byoanet": "eca_botnext26ts_256 halonet_h1 lambda_resnet26t",
    "byobnet": "test_byobnet mobileone_s0 repvgg_a0 gernet_s regnetz_b16 resnet50_mlp resnet50_clip",
    "cait": "cait_xxs24_224",
    "coat": "coat_lite_tiny coat_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "test_convnext convnext_atto convnextv2_atto convnext_atto_rms convnext_zepto_rms convnext_tiny_hnf "
    "convnext_large_mlp",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s cspresnet50",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deepseek_vit": "deepseek_vit_412m deepseek_vit_412m_align",
    "deit": "deit_tiny_distilled_patch16_224 deit_tiny_patch16_224 deit3_small_patch16_224",
    "densenet": "densenet121",
    "dla": "dla46x_c",
    "dpn": "dpn48b dpn68",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "test_efficientnet efficientnet_b0 tf_efficientnetv2_b0 mobilenetv2_035 mnasnet_050 mixnet_s "
    "tinynet_e",
    "efficientvim": "efficientvim_m1 efficientvim_m1_dist",
    "efficientvit_mit": "efficientvit_b0 efficientvit_l1",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "vit_tiny_patch16_dinov3_qkvb eva02_tiny_patch14_224 vit_small_patch16_rope_224 "
    "vit_pe_core_tiny_patch16_384",
    "fasternet": "fasternet_t0 fasternet_t2",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050 ghostnetv2_100 ghostnetv3_050",
    "hardcorenas": "hardcorenas_a",
    "hgnet": "hgnetv2_b0 hgnet_tiny",
    "hiera": "hiera_tiny_224 hiera_small_abswin_256",
    "hieradet_sam2": "sam2_hiera_tiny",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t iformer_m_distilled",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128s levit_256d levit_conv_128s levit_conv_256d",
    "lowformer": "lowformer_b0",
    "mambaout": "test_mambaout mambaout_femto",
    "maxxvit": "test_coatnet test_maxvit coatnet_0_224 maxvit_tiny_tf_224",
    "metaformer": "poolformerv2_s12 poolformer_s12 caformer_s18",
    "mlp_mixer": "gmlp_ti16_224 gmixer_12_224 resmlp_12_224 mixer_s16_224",
    "mobilenetv3": "mobilenetv3_small_050 lcnet_035 fbnetv3_b mobilenetv4_conv_small_035 mobilenetv4_hybrid_large_075",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs mobilevitv2_050",
    "mvitv2": "mvitv2_tiny mvitv2_small_cls",
    "naflexvit": "naflexvit_base_patch16_gap naflexvit_base_patch16_map naflexvit_base_patch16_radio_v3",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "test_nfnet dm_nfnet_f0 eca_nfnet_l0 nf_regnet_b0",
    "pit": "pit_ti_224 pit_ti_distilled_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "qwen3_vit": "qwen3_vit_88m qwen3_vit_88m_merge",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002 regnety_002",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m1",
    "res2net": "res2net50_26w_4s",
    "resnest": "resnest14d",
    "resnet": "test_resnet resnet18 resnet50d seresnext26d_32x4d",
    "resnetv2": "resnetv2_18 resnetv2_50",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224 swin_s3_tiny_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_legacy_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small twins_pcpvt_small",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vision_transformer": "test_vit2 vit_medium_patch16_gap_256 test_vit4 test_vit test_vit3 "
    "vit_base_patch32_siglip_256",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "test_vit_relpos vit_srelpos_small_patch16_224 vit_relpos_medium_patch16_cls_224",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}
# Where even the smallest is large: fewer blocks, which does not change its head.
SHALLOW: dict[str, dict[str, Any]] = {
    "beit_base_patch16_224": {"depth": 2},
    "beitv2_base_patch16_224": {"depth": 2},
    "convnext_large_mlp": {"depths": (1, 1, 1, 1)},
    "deepseek_vit_412m": {"depth": 2},
    "deepseek_vit_412m_align": {"depth": 2},
    "gemma4_vit_167m": {"depth": 2},
    "naflexvit_base_patch16_gap": {"depth": 2},
    "naflexvit_base_patch16_map": {"depth": 2},
    "naflexvit_base_patch16_radio_v3": {"depth": 2},
    "qwen3_vit_88m": {"depth": 2},
    "qwen3_vit_88m_merge": {"depth": 2},
    "samvit_base_patch16_224": {"depth": 2},
    "sequencer2d_s": {"layers": (1, 1, 1, 1)},
    "vit_base_patch32_siglip_256": {"depth": 2},
    "vit_medium_patch16_gap_256": {"depth": 2},
    "vit_relpos_medium_patch16_cls_224": {"depth": 2},
}
CLASSES = 11
MARK = "<!-- python -m benchmarks.annotate.families --write docs/annotators.md -->"
TALL = (256, 128), (280, 140)  # pixels; twice as high as wide, so that swapped axes would show


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one network; local and frozen are the text of `Consistency`, or "refused: " and the reason."""

    family: str
    model: str
    input_size: tuple[int, int]
    grid: tuple[int, int] | None
    begins: str
    local: str
    frozen: str

    def cells(self) -> list[str]:
        """The row of the table."""
        given = ", ".join(f"{name}={value}" for name, value in SHALLOW.get(self.model, {}).items())
        return [
            self.family,
            f"{self.model} ({given})" if given else self.model,
            "x".join(map(str, self.input_size)),
            "x".join(map(str, self.grid)) + self.begins if self.grid else "",
            self.local,
            "the same" if self.frozen == self.local else self.frozen,
        ]


def models() -> Iterator[tuple[str, str]]:
    """The family and the name of each network of the table."""
    for family, names in FAMILIES.items():
        for name in names.split():
            yield family, name


def build(name: str) -> tuple[nn.Module, tuple[int, int]]:
    """A network with random weights, and the height and width of an input that it accepts: tall if possible."""
    for kwargs, size in _inputs(name):
        torch.manual_seed(0)
        model = randomise(timm.create_model(name, num_classes=CLASSES, **SHALLOW.get(name, {}), **kwargs))
        try:
            with torch.inference_mode():
                model(torch.zeros(1, 3, *size))
        except Exception:  # some break only on real pixels
            continue
        return model, size
    raise ValueError(f"{name} takes none of the inputs that were tried")


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Change all weights and statistics with trivial first values: ones, zeros, the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point() or (tensor.ndim > 1 and tensor.min() != tensor.max()):
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(1 + 0.5 * noise.abs() if name.endswith("running_var") else tensor + 0.3 * noise)
    return model.eval()


def judge(family: str, name: str) -> Verdict:
    """Measure one network with both kinds of head."""
    model, size = build(name)
    grid, begins, said = None, "", []
    for head in ("local", "frozen"):
        try:
            dense = DenseClassifier(model, name, head)
            grid, _, consistency = dense.consistency(size)
            said.append(str(consistency))
            if head == "local":
                begins = _begins(dense, size, grid)
        except AnnotateError as error:
            said.append("refused: " + str(error).partition(": ")[2].partition(". ")[0].rstrip("."))
    return Verdict(family, name, size, grid, begins, *said)


def _begins(dense: DenseClassifier, size: tuple[int, int], grid: tuple[int, int]) -> str:
    """By how many locations the grid lies further down and right than the input, if at all."""
    box, steps = dense.grid_box(size, grid), dense.steps(size, grid)
    away = [
        ((low + high) / 2 - 0.5) * side / step
        for low, high, side, step in zip((box.top, box.left), (box.bottom, box.right), size, steps, strict=True)
    ]
    return f", {away[0]:+.2f} {away[1]:+.2f}" if any(abs(one) > 0.01 for one in away) else ""


def describe(verdicts: list[Verdict]) -> str:
    """The table in Markdown, with its totals."""
    kinds = Counter(re.split(r":| \(| by ", verdict.local)[0] for verdict in verdicts)
    head = ["family", "model", "input", "grid", "local", "frozen"]
    return "\n".join(
        [
            f"{len(verdicts)} networks of {len({one.family for one in verdicts})} families of timm {timm.__version__}: "
            + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
            + ".",
            "",
            table(head, [one.cells() for one in verdicts]),
        ]
    )


def _inputs(name: str) -> Iterator[tuple[dict[str, Any], tuple[int, int]]]:
    """The arguments of `create_model` for each input that the network may accept, and that input."""
    side = timm.get_pretrained_cfg(name).input_size[-1]
    for size in (*TALL, (2 * side, side), (side, side)):
        for kwargs in ({}, {"img_size": size}):
            try:
                with torch.device("meta"), torch.inference_mode():
                    model = timm.create_model(name, **SHALLOW.get(name, {}), **kwargs)
                    model.eval().forward_features(torch.empty(1, 3, *size))
            except Exception:  # networks refuse what they do not take in many ways
                continue
            yield kwargs, size


@click.command()
@click.argument("names", nargs=-1, metavar="[MODEL …]")
@click.option("--write", "page", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Put it there.")
def main(names: tuple[str, ...], page: Path | None) -> None:
    """Measure networks, all of the table if none is named, and print the table."""
    chosen = [(family, name) for family, name in models() if not names or name in names]
    bar = tqdm(chosen, desc="asking", leave=False)
    verdicts = []
    for family, name in bar:
        bar.set_postfix_str(name)
        verdicts.append(judge(family, name))
    text = describe(verdicts)
    print(text)
    if page:
        head, _, _ = page.read_text().partition(MARK)
        page.write_text(f"{head}{MARK}\n\n{text}\n")


if __name__ == "__main__":
    main()
