"""Heat maps: what in an image made its detections or its class, by Grad-CAM."""
