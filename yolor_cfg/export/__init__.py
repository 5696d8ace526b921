"""Networks for other programs: ONNX and what is made of it, torch's own files; each compared with ours."""
