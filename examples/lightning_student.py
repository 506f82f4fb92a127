"""How does Lightning take token labels? Like any dataset; only set the epoch before each epoch, resumed ones too."""

import torch
from lightning import LightningModule, Trainer
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from tokenlabel import Crops, LabeledImages, collate, token_label_loss
from tokenlabel.models import LVViT


class Student(LightningModule):
    """An LV-ViT and how it is trained."""

    def __init__(self):
        super().__init__()
        self.model = LVViT(10, img_size=(64, 64), patch_size=8, embed_dim=96, depth=4, num_heads=4, stem_dim=16)

    def train_dataloader(self):
        """Called before each epoch; in on_train_epoch_start, workers of a resumed training may have drawn already."""
        data.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed)
        return DataLoader(data, 64, shuffle=True, collate_fn=collate)

    def training_step(self, batch, index):
        """The loss of a batch."""
        loss = token_label_loss(*self.model(batch.pixels), batch.targets, label=batch.label)
        self.log("loss", loss, prog_bar=True, batch_size=len(batch.label))
        return loss

    def configure_optimizers(self):
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


images, labels = ImageFolder("demo/out/images/train"), "demo/out/labels-train.zarr"
data = LabeledImages(images, labels, augment=Crops((64, 64)), tokens=(8, 8), class_count=10)
trainer = Trainer(max_epochs=2, logger=False, enable_checkpointing=False, reload_dataloaders_every_n_epochs=1)
trainer.fit(Student())
print(f"loss {trainer.callback_metrics['loss']:.3f}")
