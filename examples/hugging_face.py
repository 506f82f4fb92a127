"""How does Hugging Face's Trainer take token labels? By columns of keys and pictures, and a loss of our own."""

import torch
from datasets import Dataset, Image
from torchvision.datasets import ImageFolder
from transformers import Trainer, TrainingArguments

from tokenlabel import Crops, LabeledImages, collate, folder_keys, token_label_loss
from tokenlabel.models import LVViT

images, labels = ImageFolder("demo/out/images/train"), "demo/out/labels-train.zarr"
columns = {"key": folder_keys(images), "image": [path for path, _ in images.samples], "label": images.targets}
rows = Dataset.from_dict(columns).cast_column("image", Image(decode=False))  # decoding would rotate them by EXIF
where = {"image": "image", "label": "label", "key": "key"}
data = LabeledImages(rows, labels, **where, augment=Crops((64, 64)), tokens=(8, 8), class_count=10)


def batch(examples):
    """A batch by the names that compute_loss asks for."""
    return collate(examples)._asdict()


class TokenTrainer(Trainer):
    """A Trainer with the loss of Token Labeling."""

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        """The loss of a batch; in evaluate() and predict(), that of the logits to classify by, and these."""
        answer = model(inputs["pixels"])
        if model.training:
            return token_label_loss(*answer, inputs["targets"], label=inputs["label"])
        loss = torch.nn.functional.cross_entropy(answer, inputs["label"])
        return (loss, {"logits": answer}) if return_outputs else loss


model = LVViT(10, img_size=(64, 64), patch_size=8, embed_dim=96, depth=4, num_heads=4, stem_dim=16)
options = {"num_train_epochs": 2, "per_device_train_batch_size": 64, "learning_rate": 1e-3, "report_to": "none"}
options |= {"remove_unused_columns": False, "save_strategy": "no", "label_names": ["label"]}
arguments = TrainingArguments("demo/out/trainer", **options)
print(f"loss {TokenTrainer(model, arguments, data_collator=batch, train_dataset=data).train().training_loss:.3f}")
