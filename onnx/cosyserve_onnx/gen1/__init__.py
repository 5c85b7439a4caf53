"""CosyVoice 1 (300M): stages that differ from the later generations'."""
