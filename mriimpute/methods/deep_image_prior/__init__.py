"""`deep-image-prior`: decoders fitted to the planes of the scan itself."""
