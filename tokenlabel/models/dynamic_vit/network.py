"""Which student drops tokens on the way? LV-ViT or DeiT, with three places where the least needed tokens go.

    training     dropped tokens stay in place, and nobody attends to them: the choice gets a gradient, and every token
                 keeps its position in the grid
    evaluation   dropped tokens are gone, so that later blocks take less time; the best k are kept in order of score

Both give the same answer where the choice is the same. Its published sizes are in published_sizes.py.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from timm.models._features import feature_take_indices
from torch import nn
from torch.nn.functional import gumbel_softmax
from torch.utils.checkpoint import checkpoint

from tokenlabel.losses.class_label import SoftLabel
from tokenlabel.mixing.mix import Mix
from tokenlabel.models.conv_stem import ConvStem
from tokenlabel.models.dynamic_vit.losses import pruning_loss
from tokenlabel.models.dynamic_vit.masked_attention import MaskedAttention
from tokenlabel.models.dynamic_vit.predictor import ScorePredictor
from tokenlabel.models.dynamic_vit.pruned import Pruned
from tokenlabel.models.lvvit import Block
from tokenlabel.models.token_vit import TokenViT, initialise, zero_missing_head
from tokenlabel.targets.token_targets import TokenTargets


class DynamicViT(TokenViT):
    """A `Student` that drops tokens; see `TokenViT` for what it answers, of the tokens that are left.

    Its weights are those of the student without dropping, and `score_predictor`. Those of an un-pruned student load
    too: predictors then keep their first weights. Where a file has no head for tokens, as DeiT's, it becomes zero.

    Args:
        num_classes: C; 0 for features.
        keep_ratio: of the tokens left before, the fraction that each place keeps: int(t · keep_ratio^s) after place s.
        sites: the blocks before which tokens are dropped, each in [1, depth).
        img_size, in_chans, patch_size: of its input, pixels.
        embed_dim, depth, num_heads, mlp_ratio, qkv_bias, norm_eps: of the transformer.
        stem_dim, stem_strides: of the stem; () for plain patches, as DeiT's.
        residual_divisor: LV-ViT's λ; 1 for DeiT.
        token_share: part of the best token's logits in the answer; only tokens that are left count.
        global_pool: "token"; or "" for features of the tokens that are left.
        drop_rate, pos_drop_rate, proj_drop_rate, attn_drop_rate, drop_path_rate: as timm's.

    Raises:
        ValueError: a keep_ratio outside (0, 1], or one that keeps no token; sites that are not blocks in ascending
            order; a size that is not a multiple of the patch; another pooling.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        keep_ratio: float = 0.7,
        sites: tuple[int, ...] = (4, 8, 12),
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        patch_size: int = 16,
        embed_dim: int = 384,
        depth: int = 16,
        num_heads: int = 6,
        mlp_ratio: float = 3.0,
        qkv_bias: bool = False,
        norm_eps: float = 1e-5,
        stem_dim: int = 64,
        stem_strides: tuple[int, ...] = (2, 1, 1),
        residual_divisor: float = 2.0,
        token_share: float = 0.5,
        global_pool: str = "token",
        drop_rate: float = 0.0,
        pos_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if not 0 < keep_ratio <= 1:
            raise ValueError(f"keep_ratio is the fraction of tokens that are kept, in (0, 1], not {keep_ratio}")
        if list(sites) != sorted({*sites} & {*range(1, depth)}):
            raise ValueError(f"sites must be blocks from 1 to {depth - 1}, in ascending order, not {sites}")
        super().__init__(
            num_classes,
            img_size=img_size,
            patch_size=patch_size,
            in_chans=in_chans,
            global_pool=global_pool,
            token_share=token_share,
            embed_dim=embed_dim,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
            drop_rate=drop_rate,
            pos_drop_rate=pos_drop_rate,
            proj_drop_rate=proj_drop_rate,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
            embed_layer=partial(ConvStem, hidden=stem_dim, strides=stem_strides),
            norm_layer=partial(nn.LayerNorm, eps=norm_eps),
            attn_layer=MaskedAttention,
            block_fn=partial(Block, residual_divisor=residual_divisor),
            device=device,
            dtype=dtype,
        )
        self.keep_ratio, self.sites = keep_ratio, tuple(sites)
        # LV-ViT has a head for tokens. DeiT, whose stem is one convolution, was published without.
        self.added_parts = ("score_predictor",) if stem_strides else ("score_predictor", "aux_head")
        self.score_predictor = nn.ModuleList(ScorePredictor(embed_dim, device=device, dtype=dtype) for _ in sites)
        self.score_predictor.apply(initialise)
        self.kept_counts()
        self.register_load_state_dict_pre_hook(zero_missing_head)
        self.register_load_state_dict_pre_hook(_keep_missing_predictors)

    @property
    def ratios(self) -> tuple[float, ...]:
        """The fraction of all tokens that is left after each site."""
        return tuple(self.keep_ratio ** (site + 1) for site in range(len(self.sites)))

    def kept_counts(self) -> tuple[int, ...]:
        """How many tokens are left after each site.

        Raises:
            ValueError: none would be left.
        """
        count = self.token_grid[0] * self.token_grid[1]
        counts = tuple(int(count * ratio) for ratio in self.ratios)
        if min(counts, default=1) < 1:
            raise ValueError(
                f"keep_ratio {self.keep_ratio} leaves none of {count} tokens after {len(counts)} sites; give a higher "
                "one, or larger pictures"
            )
        return counts

    def logits(self, pixels: torch.Tensor, mix: Mix | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of the pictures [b, C] and of all tokens [b, t, C], row by row; see `Pruned` for dropped ones."""
        # Not its slice, which torch 2.6 cannot compile.
        pruned = self.pruned(pixels, mix)
        return pruned.picture, pruned.tokens

    def pruned(self, pixels: torch.Tensor, mix: Mix | None = None) -> Pruned:
        """The logits, and which tokens are left: drawn at random in training mode, the best otherwise."""
        x, keep, _ = self._masked(pixels, mix, set())
        x = self.head_drop(self.norm(x))
        tokens = self.aux_head(x[:, 1:])
        if mix is not None:  # each row of logits and of choices belongs to its own picture again
            tokens = mix.restored(tokens)
            keep = [mix.restored(left[..., None])[..., 0] for left in keep]
        return Pruned(self.head(x[:, 0]), tokens, tuple(keep))

    def teacher(self) -> DynamicViT:
        """The same network that drops no tokens, for the weights of its base: in evaluation mode, without gradients."""
        twin = copy.deepcopy(self)
        twin.sites, twin.score_predictor = (), nn.ModuleList()
        return twin.eval().requires_grad_(False)

    def own_loss(
        self,
        pixels: torch.Tensor,
        mix: Mix | None,
        targets: TokenTargets,
        *,
        label: torch.Tensor | SoftLabel | None = None,
        teacher: Any = None,
        **weights: float,
    ) -> torch.Tensor:
        """The loss of a batch, a scalar in nats: see `pruning_loss`.

        Args:
            pixels: [b, 3, H, W].
            mix: of the batch; the teacher sees the same mixed pictures.
            targets: of pictures and tokens, mixed.
            label: of pictures, mixed, in place of the annotator's.
            teacher: an un-pruned student, or None.
            weights: of the parts, as `pruning_loss` takes them.
        """
        answers = None
        if teacher is not None:
            with torch.no_grad():
                answers = teacher.logits(pixels, mix)
        return pruning_loss(self.pruned(pixels, mix), self.ratios, targets, label=label, teacher=answers, **weights)

    def forward_features(self, pixels: torch.Tensor, mix: Mix | None = None) -> torch.Tensor:
        """The class token and the tokens that are left after the last norm, best first: [b, 1 + k, D]."""
        return self.kept_features(pixels, mix)[0]

    def kept_features(self, pixels: torch.Tensor, mix: Mix | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The features [b, 1 + k, D] of `forward_features`, and the positions int64 [b, k] of its tokens in the grid.

        With MixToken, positions are those of the mixed grid.
        """
        x = self._embedded(pixels, mix)
        b, n = x.shape[0], x.shape[1] - 1
        positions = torch.arange(n, device=x.device).expand(b, n)
        counts = dict(zip(self.sites, zip(self.score_predictor, self.kept_counts(), strict=True), strict=True))
        for index, block in enumerate(self.blocks):
            if index in counts:
                predictor, count = counts[index]
                scores = predictor(x[:, 1:], x.new_ones(b, x.shape[1] - 1))[..., 0]
                best = scores.topk(count, 1).indices
                positions = positions.gather(1, best)
                x = torch.cat([x[:, :1], x[:, 1:].gather(1, best[..., None].expand(-1, -1, x.shape[2]))], 1)
            x = self._run(block, x, None)
        return self.norm(x), positions

    def scattered(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens' logits [b, t, C] on the whole grid, and which tokens were kept, bool [b, t].

        Dropped tokens have no answer: theirs are 0.
        """
        features, positions = self.kept_features(pixels)
        answers = self.aux_head(features[:, 1:])
        b, t = len(answers), self.token_grid[0] * self.token_grid[1]
        where = positions[..., None].expand_as(answers)
        logits = answers.new_zeros(b, t, answers.shape[2]).scatter(1, where, answers)
        return logits, torch.zeros(b, t, dtype=torch.bool, device=answers.device).scatter(1, positions, value=True)

    def forward_intermediates(
        self,
        x: torch.Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        **_: object,
    ) -> Any:
        """Maps between blocks, as timm's; dropped tokens stay in place, with features that mean nothing."""
        taken, _last = feature_take_indices(len(self.blocks), indices)
        last, _keep, maps = self._masked(x, None, set(taken))
        tokens = [(self.norm(one) if norm else one)[:, 1:] for one in maps]
        if output_fmt == "NCHW":
            grid = self.patch_embed.dynamic_feat_size((x.shape[-2], x.shape[-1]))
            tokens = [one.transpose(1, 2).unflatten(2, grid).contiguous() for one in tokens]
        return tokens if intermediates_only else (self.norm(last), tokens)

    def _embedded(self, pixels: torch.Tensor, mix: Mix | None) -> torch.Tensor:
        tokens = self.patch_embed(pixels)
        return self._pos_embed(tokens if mix is None else mix.tokens(tokens))

    def _masked(
        self, pixels: torch.Tensor, mix: Mix | None, taken: set[int]
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """The last block's tokens [b, 1 + t, D], which are left after each site, and the blocks that are taken."""
        x = self._embedded(pixels, mix)
        keep = x.new_ones(x.shape[:2])
        kept: list[torch.Tensor] = []
        maps: list[torch.Tensor] = []
        counts = self.kept_counts()
        for index, block in enumerate(self.blocks):
            if index in self.sites:
                site = self.sites.index(index)
                left = self._choice(self.score_predictor[site](x[:, 1:], keep[:, 1:]), keep[:, 1:], counts[site])
                kept.append(left)
                keep = torch.cat([keep[:, :1], left], 1)
            x = self._run(block, x, keep if self.sites else None)
            if index in taken:
                maps.append(x)
        return x, kept, maps

    def _choice(self, scores: torch.Tensor, keep: torch.Tensor, count: int) -> torch.Tensor:
        """Which tokens are left: 1 or 0, [b, t]."""
        if self.training:
            return gumbel_softmax(scores.float(), hard=True)[..., 0].to(keep.dtype) * keep
        best = scores[..., 0].masked_fill(keep == 0, -torch.inf).topk(count, 1).indices
        return torch.zeros_like(keep).scatter(1, best, 1.0)

    def _run(self, block: nn.Module, x: torch.Tensor, keep: torch.Tensor | None) -> torch.Tensor:
        if self.grad_checkpointing:
            recomputed: torch.Tensor = checkpoint(block, x, keep, use_reentrant=False)
            return recomputed
        ran: torch.Tensor = block(x, keep)
        return ran


def _keep_missing_predictors(model: DynamicViT, state: dict[str, torch.Tensor], prefix: str, *_: object) -> None:
    """Let weights of an un-pruned student, which has no predictors, leave those of the model: a hook before loading."""
    own = {f"{prefix}score_predictor.{name}": value for name, value in model.score_predictor.state_dict().items()}
    if f"{prefix}cls_token" in state and not own.keys() & state.keys():
        state.update(own)
