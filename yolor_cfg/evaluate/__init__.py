"""How good a network is: the truth, the detections, and the figures that compare them."""
