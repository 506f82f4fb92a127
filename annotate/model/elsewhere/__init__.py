"""Which networks come from elsewhere than timm? One file for each source, and how their answers are checked."""
