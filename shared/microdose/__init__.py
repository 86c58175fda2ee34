"""What both ends of Microdose agree on: formats, names, entropy coding and the decoder.

Needs numpy, pydantic, constriction and google-crc32c, and onnxruntime in `microdose.engine`. Never torch.
"""
