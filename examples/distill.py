"""How is a student distilled (arXiv 1503.02531)? From the label of the whole picture, whatever the crop shows of it."""

import timm
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from tokenlabel import Crops, LabeledImages, View, collate, soft_cross_entropy

images, labels = ImageFolder("demo/out/images/train"), "demo/out/labels-train.zarr"
crops, temperature = Crops((64, 64)), 2.0


def augment(picture, rng):
    """The pixels of a crop, with the label of the whole picture."""
    return crops(picture, rng)[0], View.whole()


data = LabeledImages(images, labels, augment=augment, tokens=(1, 1), class_count=10)
model = timm.create_model("test_resnet", num_classes=10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
for epoch in range(2):
    data.set_epoch(epoch)  # other crops
    for pixels, targets, label in DataLoader(data, 64, shuffle=True, collate_fn=collate):
        logits, soft = model(pixels), targets.tempered(temperature, class_count=10)
        teacher = soft_cross_entropy(logits / temperature, soft.classes[:, 0], soft.probabilities[:, 0]).mean()
        loss = 0.5 * cross_entropy(logits, label) + 0.5 * temperature**2 * teacher
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: loss {loss.item():.3f}")
