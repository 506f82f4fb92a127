"""Which settings were the paper's? A file for each model and size; what is not in it is as for LV-ViT-S at 224."""
