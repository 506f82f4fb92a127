"""Which settings did the paper use? One file for each model and size, with what differs from LV-ViT-S at 224 pixels."""
