"""Do other people's trainers train on our labels, each picture on its own? Every program of docs/trainers.md is run.

It is run on synthetic pictures: each is four quadrants of different classes, a class is a level of red, and the labels
in the store agree. Green and blue grow with y and x, so that no two crops are equal. The inputs of the model and of
the loss are recorded, and must show the same classes at the same positions.
"""

from __future__ import annotations

import ast
import io
import math
import re
import runpy
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from torch.nn.functional import one_hot
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from storage import LabelMap, open_store
from storage.labelmap import no_class
from tokenlabel import TokenTargets, normalised
from tokenlabel.losses import soft_cross_entropy as soft_module
from tokenlabel.losses import token_label_loss as whole_module

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGE = (ROOT / "docs" / "trainers.md").read_text()
CLASSES = 10
LEVELS = torch.arange(CLASSES) * 23 + 20.0  # of red

# Packages that only `make trainers` installs, and their warnings that we cannot change.
HEAVY = {
    "accelerate_student": (["accelerate"], []),
    "albumentations_student": (["albumentations"], []),
    "hugging_face": (["transformers", "accelerate"], ["'pin_memory' argument is set as true but no accelerator"]),
    "kornia_student": (["kornia"], []),
    "lightning_student": (["lightning"], ["The 'train_dataloader' does not have many workers", ".*LeafSpec"]),
    "webdataset_shards": (["webdataset"], [".*train.tar"]),
}
WITHOUT_TORCH, WHOLE_PICTURE, CROP = "from_boxes", "distill", "relabel"


pytestmark = pytest.mark.usefixtures("single_threaded")


@pytest.fixture(scope="module")
def painted(small_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small demo with other pictures of the same names and sizes, and their labels."""
    root = tmp_path_factory.mktemp("painted") / "root"
    shutil.copytree(small_demo, root)
    store = open_store(root / "demo/out/labels-train.zarr", writable=True)
    (rows, columns), ranks = store.schema.grid, store.schema.k
    for shard in store.shards():
        labels = store.read(shard)
        classes = np.full((len(shard), rows, columns, ranks), no_class(labels.classes.dtype), labels.classes.dtype)
        for row, size, likeliest in zip(shard, labels.sizes.tolist(), classes[..., 0], strict=True):
            quadrants = np.random.default_rng(row).permutation(CLASSES)[:4].reshape(2, 2)
            likeliest[:] = _over(quadrants, rows, columns)
            _picture(quadrants, *size).save(root / "demo/out/images/train" / store.keys[row], quality=95, subsampling=0)
        scores = (classes != no_class(classes.dtype)).astype(np.float32)
        boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (len(shard), 1))
        store.write(shard, LabelMap(classes, scores, boxes, labels.sizes, labels.status))
    return root


def _over(quadrants: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return quadrants.repeat(rows // 2, 0).repeat(columns // 2, 1)


def _picture(quadrants: np.ndarray, rows: int, columns: int) -> Image.Image:
    y, x = np.mgrid[:rows, :columns]
    red = LEVELS.numpy()[_over(quadrants, rows, columns)]
    return Image.fromarray(np.stack([red, 255 * y / rows, 255 * x / columns], -1).astype(np.uint8))


@dataclass
class Overheard:
    """The inputs of models and losses, and the changes of weights."""

    pixels: list[torch.Tensor] = field(default_factory=list)
    targets: list[TokenTargets] = field(default_factory=list)
    at_first: dict[torch.nn.Parameter, torch.Tensor] = field(default_factory=dict)
    reached: set[torch.nn.Parameter] = field(default_factory=set)

    def given(self, module: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        """A module is called; the first with weights that sees these pixels is the model (kornia's have none)."""
        (pixels, *_) = arguments or (None,)
        seen = (self.pixels and self.pixels[-1] is pixels) or not any(True for _ in module.parameters())
        if isinstance(pixels, torch.Tensor) and pixels.shape[1:2] == (3,) and not seen:
            self.pixels.append(pixels)

    def before_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Remember the weights as they were at first."""
        if not self.at_first:
            self.at_first = {weight: weight.detach().clone() for weight in _weights(optimizer)}

    def after_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Remember which of them the loss has reached."""
        self.reached |= {weight for weight in _weights(optimizer) if weight.grad is not None and weight.grad.any()}


def _weights(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


@pytest.fixture
def overheard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Overheard]:
    """Record the inputs of all models, losses and optimizers during a test."""
    heard = Overheard()
    whole, soft = whole_module.token_label_loss, soft_module.soft_cross_entropy

    def token_label_loss(picture: torch.Tensor, tokens: torch.Tensor, targets: TokenTargets, **rest: Any) -> Any:
        heard.targets.append(targets)
        return whole(picture, tokens, targets, **rest)

    def soft_cross_entropy(logits: torch.Tensor, classes: torch.Tensor, probabilities: torch.Tensor) -> Any:
        if classes.ndim == 2:  # of pictures, and not of tokens
            outside = torch.zeros(len(classes), 1, dtype=torch.bool)
            heard.targets.append(TokenTargets(classes[:, None], probabilities[:, None], outside))
        return soft(logits, classes, probabilities)

    monkeypatch.setattr(whole_module, "token_label_loss", token_label_loss)
    for module in (whole_module, soft_module):
        monkeypatch.setattr(module, "soft_cross_entropy", soft_cross_entropy)
    hooks = [
        register_module_forward_pre_hook(heard.given),
        register_optimizer_step_pre_hook(heard.before_step),
        register_optimizer_step_post_hook(heard.after_step),
    ]
    yield heard
    for hook in hooks:
        hook.remove()


def agreement(pixels: torch.Tensor, targets: TokenTargets, kind: str = "") -> float:
    """The fraction of what is shown that the targets agree with, in [0, 1]."""
    places = targets.classes.shape[1]
    shown = _shown(pixels, places=max(places - 1, 1))  # [b, t, C]
    taught = (one_hot(targets.classes.long(), CLASSES) * targets.probabilities[..., None]).sum(2)
    if kind == WHOLE_PICTURE:  # a quarter for each class of the picture, however much the crop shows of it
        quarters = (taught[:, 0] - 0.25).abs() < 0.02
        return float((quarters.sum(1) == 4).float().mean() * (shown[:, 0] * quarters).sum(1).mean())
    if kind == CROP:
        return float(torch.minimum(taught[:, 0], shown[:, 0]).sum(1).mean())
    sure = (shown.amax(-1) > 0.99) & ~targets.outside[:, 1:]
    assert sure.sum() > 0.3 * sure.numel(), "hardly a token shows one class alone"
    return float((taught[:, 1:].gather(2, shown.argmax(-1)[..., None])[..., 0] > 0.5)[sure].float().mean())


def _shown(pixels: torch.Tensor, *, places: int) -> torch.Tensor:
    """The fraction of each token's pixels that shows each class: [b, t, C]."""
    side = math.isqrt(places)
    classes = (_red(pixels)[..., None] - LEVELS).abs().argmin(-1)
    tokens = classes.unflatten(1, (side, -1)).unflatten(3, (side, -1)).transpose(2, 3).flatten(3).flatten(1, 2)
    return one_hot(tokens, CLASSES).float().mean(2)


def _red(pixels: torch.Tensor) -> torch.Tensor:
    """Normalised pixels [b, 3, H, W] as the red in the file, 0 to 255."""
    black, white = (normalised(Image.new("RGB", (1, 1), colour))[0] for colour in ("black", "white"))
    return 255 * (pixels[:, 0] - black) / (white - black)


def run(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Run a program, check that all losses that it prints are numbers, and return its variables at its end."""
    torch.manual_seed(0)
    known = runpy.run_path(str(path))
    losses = [float(number) for number in re.findall(r"loss (\S+)", capsys.readouterr().out)]
    assert losses
    assert all(math.isfinite(loss) for loss in losses)
    return known


def _with_torch() -> list[Any]:
    marks = {name: [pytest.mark.filterwarnings(f"ignore:{text}") for text in HEAVY[name][1]] for name in HEAVY}
    return [pytest.param(name, marks=marks.get(name, ())) for name in programs() if name != WITHOUT_TORCH]


def programs() -> list[str]:
    """The programs that the page lists with a command."""
    return re.findall(r"python examples/(\w+)\.py", PAGE)


@pytest.mark.parametrize("name", _with_torch())
def test_a_program_moves_all_weights_by_labels_of_the_very_crops(
    name: str, painted: Path, overheard: Overheard, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    need(name)
    monkeypatch.chdir(painted)
    run(EXAMPLES / f"{name}.py", capsys)
    assert overheard.reached == set(overheard.at_first) != set(), "some weights never had a gradient"
    assert all((weight != first).any() for weight, first in overheard.at_first.items())
    batches = list(zip(overheard.pixels, overheard.targets, strict=True))
    agreements = [agreement(pixels, targets, name) for pixels, targets in batches]
    # RandAugment changes colours too, so that red says little in many pictures; a wrong join gives 0.1.
    assert np.mean(agreements) > (0.4 if name == "timm_student" else 0.95)
    crops = torch.cat(overheard.pixels)
    assert len(crops.unique(dim=0)) > 0.98 * len(crops), "a new epoch has shown the old crops"


def test_the_strongest_operation_of_timms_policy_is_not_an_error() -> None:
    """Pillow 13 keeps no picture of 0 bits, which timm's posterize asks for at a magnitude of 10."""
    (policy,) = re.findall(r'auto_augment="(\S+)"', (EXAMPLES / "timm_student.py").read_text())
    for op in rand_augment_transform(policy, {}).ops:
        op.prob, op.magnitude, op.magnitude_std = 1, 99, 0
        op(Image.new("RGB", (64, 48)))


def need(name: str) -> None:
    """Skip, with the reason, where a package is not installed."""
    for package in HEAVY.get(name, ([], []))[0]:
        reason = f"examples/{name}.py needs {package}; `make trainers` installs it, and runs this"
        pytest.importorskip(package, reason=reason)


@pytest.mark.parametrize("wrong", [False, True])
def test_a_loader_without_torch_has_the_labels_of_its_crops(
    wrong: bool, painted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the label of the next picture, this test and those above would fail."""
    monkeypatch.chdir(painted)
    text = (EXAMPLES / f"{WITHOUT_TORCH}.py").read_text()
    assert "store.find(key)" in text
    program = tmp_path / "program.py"
    program.write_text(text.replace("store.find(key)", "(store.find(key) + 1) % len(store)") if wrong else text)
    known = run(program, capsys)
    pixels = torch.stack([normalised(Image.fromarray(crop)) for crop in known["pixels"]])
    found = agreement(pixels, TokenTargets(*map(torch.from_numpy, known["targets"])))
    assert (found < 0.4) if wrong else (found > 0.95)
    assert known["student"].any(0).all()  # it was all zeros


def test_jax_trainers_need_no_torch(small_demo: Path) -> None:
    program = str(EXAMPLES / f"{WITHOUT_TORCH}.py")
    code = f"import runpy, sys; runpy.run_path({program!r}); print('torch' in sys.modules)"
    command = [sys.executable, "-W", "error", "-c", code]
    printed = subprocess.run(command, cwd=small_demo, capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"loss \d\.\d+\nFalse\n", printed)


@pytest.mark.parametrize("name", programs())
def test_a_program_has_at_most_25_lines(name: str) -> None:
    assert 10 < len(code_lines((EXAMPLES / f"{name}.py").read_text())) <= 25


def code_lines(text: str) -> set[int]:
    """The lines that hold more than space, comments and docstrings."""
    blank = {tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in blank]
    lines = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    holders = ast.Module | ast.ClassDef | ast.FunctionDef
    bodies = [node.body for node in ast.walk(ast.parse(text)) if isinstance(node, holders) and ast.get_docstring(node)]
    return lines - {line for body in bodies for line in range(body[0].lineno, body[0].end_lineno + 1)}


def test_the_page_lists_every_program() -> None:
    assert sorted(programs()) == sorted(path.stem for path in EXAMPLES.glob("*.py"))
    assert set(HEAVY) <= set(programs())


def test_the_pages_own_lines_run_after_the_first_program(
    painted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(painted)
    known = run(EXAMPLES / "train.py", capsys)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, known)
        assert math.isfinite(float(torch.as_tensor(known["loss"]).detach()))


@pytest.mark.parametrize(
    ("name", "module", "function"),
    [
        ("hugging_face", "accelerate.utils", "send_to_device"),
        ("lightning_student", "lightning.fabric.utilities", "move_data_to_device"),
    ],
)
def test_targets_are_moved_to_the_device_with_the_pixels(name: str, module: str, function: str) -> None:
    need(name)
    targets = TokenTargets(torch.zeros(2, 5, 3), torch.zeros(2, 5, 3), torch.zeros(2, 5) > 0)
    moved = getattr(import_module(module), function)({"targets": targets}, torch.device("meta"))["targets"]
    assert all(getattr(moved, part).is_meta for part in ("classes", "probabilities", "outside"))
