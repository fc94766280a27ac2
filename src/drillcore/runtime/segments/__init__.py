"""From codes of pixels to segments: what comes behind the file (paper 002). OpenCV makes the superpixels."""
