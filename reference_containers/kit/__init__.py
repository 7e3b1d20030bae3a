"""What the reference vendors share: pictures, sound, ONNX Runtime and text read the same way in every image.

A module is imported by the vendors that need it and brings no library that they do not have: `pictures` needs Pillow
and numpy, `sound` numpy (and soundfile for FLAC), `onnx` ONNX Runtime, `pieces` and `spans` nothing.
"""
