"""Evaluation: ground truth, detections, and the metrics that compare them."""
