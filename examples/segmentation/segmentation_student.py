"""How is a segmenter trained on a segmenter's labels? Per-pixel soft targets; what no class claims is a class more.

annotate run photos labels.zarr --model hf:nvidia/segformer-b0-finetuned-ade-512-512 --grid 64x64 --top-k 5
"""

import torch
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from storage import open_store
from tokenlabel import Crops, LabeledImages, collate

images, labels, side = ImageFolder("photos"), "labels.zarr", 128  # pixels of a crop, four for each target
count = len(open_store(labels).schema.class_names)
crops, tokens = Crops((side, side)), (side // 4, side // 4)
data = LabeledImages(images, labels, augment=crops, tokens=tokens, class_count=count, own_classes=False)
student = lraspp_mobilenet_v3_large(num_classes=count + 1, weights_backbone=None)
optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
for epoch in range(2):
    data.set_epoch(epoch)  # other crops
    for pixels, targets, _ in DataLoader(data, 16, shuffle=True, collate_fn=collate, drop_last=True):
        shares = torch.zeros(*targets.classes.shape[:2], count + 1)
        shares.scatter_add_(2, targets.classes.long(), targets.probabilities)
        shares[..., -1] = targets.remainder
        wanted = interpolate(shares[:, 1:].mT.unflatten(2, tokens), size=side, mode="bilinear")  # 0 is the whole crop
        loss = -(wanted * student(pixels)["out"].log_softmax(1)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: loss {loss.item():.3f}")
