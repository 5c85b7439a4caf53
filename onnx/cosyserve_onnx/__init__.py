"""Turns an official CosyVoice checkpoint into a cosyserve bundle. No PyTorch: numpy, onnx, safetensors, tokenizers."""

__version__ = "0.1.0"
