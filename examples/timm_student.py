"""How does a timm network learn from tokens? With timm's transforms, loader, optimizer, schedule and EMA, unchanged."""

from timm import create_model, data, optim, scheduler, utils
from torchvision.datasets import ImageFolder

from tokenlabel import LabeledImages, collate, token_label_loss, token_logits

images, labels = ImageFolder("demo/out/images/train"), "demo/out/labels-train.zarr"
augment = data.create_transform(64, is_training=True, auto_augment="rand-m9-mstd0.5-mmax9-inc1", re_prob=0.25)
pictures = LabeledImages(images, labels, augment=augment, tokens=(8, 8), class_count=10)
loader = data.create_loader(pictures, 64, 32, is_training=True, use_prefetcher=False, collate_fn=collate)
model = create_model("test_vit", num_classes=10, img_size=64, patch_size=8)
optimizer = optim.create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05)
schedule, epochs = scheduler.create_scheduler_v2(optimizer, num_epochs=2)
average = utils.ModelEmaV3(model, decay=0.99)
for epoch in range(epochs):
    pictures.set_epoch(epoch)  # other crops
    for pixels, targets, label in loader:
        picture, tokens, _ = token_logits(model, pixels)  # the network's own classifier, at each token
        loss = token_label_loss(picture, tokens, targets, label=label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update(model)
    schedule.step(epoch + 1)
    print(f"epoch {epoch}: loss {loss.item():.3f}")
