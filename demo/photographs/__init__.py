"""What do labels of real photographs look like? The first part of the demo: ImageNet networks on 36 photographs."""
