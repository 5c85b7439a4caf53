"""CosyVoice 3: the language model of generation 2, a diffusion transformer as flow, a causal vocoder."""
