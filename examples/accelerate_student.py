"""How does Accelerate take token labels? It moves pixels, targets and classes to each process's device."""

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from tokenlabel import Crops, EpochSampler, LabeledImages, collate, token_label_loss
from tokenlabel.models import LVViT

accelerator = Accelerator()
images, labels = ImageFolder("demo/out/images/train"), "demo/out/labels-train.zarr"
data = LabeledImages(images, labels, augment=Crops((64, 64)), tokens=(8, 8), class_count=10)
model = LVViT(10, img_size=(64, 64), patch_size=8, embed_dim=96, depth=4, num_heads=4, stem_dim=16)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
loader = DataLoader(data, 64, sampler=EpochSampler(data), collate_fn=collate)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
for epoch in range(2):
    loader.set_epoch(epoch)  # other crops; the loader tells the dataset
    for pixels, targets, label in loader:
        loss = token_label_loss(*model(pixels), targets, label=label)
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
    accelerator.print(f"epoch {epoch}: loss {loss.item():.3f}")
