"""How is a CNN trained as in ReLabel (arXiv 2101.05022)? Each crop has one label, the mean of its part of the map."""

import timm
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from tokenlabel import Crops, LabeledImages, collate, soft_cross_entropy

images = ImageFolder("demo/out/images/train")
labels = "demo/out/labels-train.zarr"
data = LabeledImages(images, labels, augment=Crops((64, 64)), tokens=(1, 1), class_count=10)
model = timm.create_model("test_resnet", num_classes=10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
for epoch in range(2):
    data.set_epoch(epoch)  # other crops
    for pixels, targets, _ in DataLoader(data, 64, shuffle=True, collate_fn=collate):
        crop = targets.classes[:, 0], targets.probabilities[:, 0]  # position 0 is the whole crop
        loss = soft_cross_entropy(model(pixels), *crop).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: loss {loss.item():.3f}")
