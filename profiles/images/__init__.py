"""The image data sets that networks are trained and attacked on.

Each loader checks what it reads by MD5 and caches it; `datasets` has them by name, `augmentation` varies the images
while a network is trained.
"""
