"""How are WebDataset's shards joined with their labels? __key__ and extension make the member's name: the key."""

import shutil

import numpy as np
import torch
import webdataset

from storage import open_store
from tokenlabel import Crops, token_label_loss, token_targets
from tokenlabel.models import LVViT

shutil.make_archive("demo/out/train", "tar", "demo/out/images/train")  # the demo's folder as a shard
store, crops = open_store("demo/out/labels-train.zarr"), Crops((64, 64))


def batch(samples):
    """Crops of pictures, and the targets of just these crops."""
    keys, pictures = zip(*samples, strict=True)
    rng = np.random.default_rng(int(torch.randint(1 << 31, ())))  # each worker has its own
    pixels, views = zip(*(crops(picture, rng) for picture in pictures), strict=True)
    rows = [store.find(key.removeprefix("./") + ".jpg") for key in keys]
    return torch.stack(pixels), token_targets(store.read(rows), views, (8, 8)), torch.tensor(store.targets[rows])


data = webdataset.WebDataset("demo/out/train.tar", shardshuffle=False).shuffle(1000).decode("pil")
loader = webdataset.WebLoader(data.to_tuple("__key__", "jpg").batched(64, collation_fn=batch), batch_size=None)
model = LVViT(10, img_size=(64, 64), patch_size=8, embed_dim=96, depth=4, num_heads=4, stem_dim=16)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for pixels, targets, label in loader:
    loss = token_label_loss(*model(pixels), targets, label=label)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss {loss.item():.3f}")
