"""How is a student trained on a store? Ten lines of plain PyTorch, on the output of `make demo`."""

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from tokenlabel import Crops, LabeledImages, collate, token_label_loss
from tokenlabel.models import LVViT

images = ImageFolder("demo/out/images/train")
labels = "demo/out/labels-train.zarr"
data = LabeledImages(images, labels, augment=Crops((64, 64)), tokens=(8, 8), class_count=10)
model = LVViT(10, img_size=(64, 64), patch_size=8, embed_dim=96, depth=4, num_heads=4, stem_dim=16)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for epoch in range(2):
    data.set_epoch(epoch)  # other crops
    for pixels, targets, label in DataLoader(data, 64, shuffle=True, collate_fn=collate):
        loss = token_label_loss(*model(pixels), targets, label=label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: loss {loss.item():.3f}")
