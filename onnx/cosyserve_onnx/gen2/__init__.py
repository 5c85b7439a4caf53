"""CosyVoice 2: Qwen2 as language model, streamed flow over pages of state; generation 3 builds on it."""
