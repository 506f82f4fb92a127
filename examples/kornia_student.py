"""How do kornia's transforms of batches move token labels? By the matrix that they return of each picture."""

import kornia.augmentation as K  # noqa: N812 the usual name
import torch
from torch.utils.data import DataLoader, StackDataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from storage import open_store
from tokenlabel import folder_keys, from_matrix, normalised, token_label_loss, token_targets
from tokenlabel.models import LVViT

device = "cuda" if torch.cuda.is_available() else "cpu"
images = ImageFolder("demo/out/images/train", v2.Compose([v2.Resize((96, 96)), normalised]))  # whole pictures
store = open_store("demo/out/labels-train.zarr")
rows = torch.tensor([store.find(key) for key in folder_keys(images)])  # of the pictures in the store
augment = K.AugmentationSequential(K.RandomResizedCrop((64, 64)), K.RandomHorizontalFlip(), data_keys=["input"])
model = LVViT(10, img_size=(64, 64), patch_size=8, embed_dim=96, depth=4, num_heads=4, stem_dim=16).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for epoch in range(2):
    for (pictures, label), chosen in DataLoader(StackDataset(images, rows), 64, shuffle=True):
        pixels = augment(pictures.to(device))
        warps = [from_matrix(m, source=(96, 96), result=(64, 64)) for m in augment.transform_matrix.cpu()]
        targets = token_targets(store.read(chosen.tolist()), warps, (8, 8)).to(device)
        loss = token_label_loss(*model(pixels), targets, label=label.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch}: loss {loss.item():.3f}")
