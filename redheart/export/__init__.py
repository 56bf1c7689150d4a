"""The shipped model as others read it: safetensors, a model card of the hub, ONNX."""
