"""How does Hugging Face's Trainer take token labels? Through a column of keys, a collator and a loss of our own."""

import numpy as np
import torch
from datasets import Dataset, Image
from PIL import Image as Pictures
from torchvision.datasets import ImageFolder
from transformers import Trainer, TrainingArguments

from storage import open_store
from tokenlabel import Crops, folder_keys, token_label_loss, token_targets
from tokenlabel.models import LVViT

images, store = ImageFolder("demo/out/images/train"), open_store("demo/out/labels-train.zarr")
columns = {"key": folder_keys(images), "image": [path for path, _ in images.samples], "label": images.targets}
data = Dataset.from_dict(columns).cast_column("image", Image(decode=False))  # decoding would rotate them by EXIF


def batch(rows):
    """Crops of pictures, and the targets of just these crops."""
    rng, crops = np.random.default_rng(int(torch.randint(1 << 31, ()))), Crops((64, 64))
    pixels, views = zip(*(crops(Pictures.open(row["image"]["path"]).convert("RGB"), rng) for row in rows), strict=True)
    targets = token_targets(store.read([store.find(row["key"]) for row in rows]), views, (8, 8))
    return {"pixels": torch.stack(pixels), "targets": targets, "label": torch.tensor([row["label"] for row in rows])}


class TokenTrainer(Trainer):
    """A Trainer with the loss of Token Labeling."""

    def compute_loss(self, model, inputs, **_):
        """The loss of a batch."""
        return token_label_loss(*model(inputs["pixels"]), inputs["targets"], label=inputs["label"])


model = LVViT(10, img_size=(64, 64), patch_size=8, embed_dim=96, depth=4, num_heads=4, stem_dim=16)
options = {"num_train_epochs": 2, "per_device_train_batch_size": 64, "learning_rate": 1e-3, "report_to": "none"}
arguments = TrainingArguments("demo/out/trainer", remove_unused_columns=False, save_strategy="no", **options)
print(f"loss {TokenTrainer(model, arguments, data_collator=batch, train_dataset=data).train().training_loss:.3f}")
