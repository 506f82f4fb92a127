"""How do albumentations move token labels? A map of coordinates goes through the same transforms as the picture."""

import albumentations as A  # noqa: N812 the usual name
import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from tokenlabel import LabeledImages, collate, coordinate_map, from_coordinates, token_label_loss
from tokenlabel.models import LVViT

# Bilinear, cv2.INTER_LINEAR: by default masks, and so the map of coordinates, take the nearest pixel.
moves = A.Compose([A.RandomResizedCrop((64, 64)), A.HorizontalFlip(), A.Normalize()], mask_interpolation=1)


def augment(picture, rng):
    """The pixels of a training picture, and where they are from."""
    moves.set_random_seed(int(rng.integers(2**31)))
    done = moves(image=np.asarray(picture), mask=coordinate_map((picture.height, picture.width)))
    return torch.from_numpy(done["image"]).permute(2, 0, 1), from_coordinates(done["mask"])


images, labels = ImageFolder("demo/out/images/train"), "demo/out/labels-train.zarr"
data = LabeledImages(images, labels, augment=augment, tokens=(8, 8), class_count=10)
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
