"""Pictures varied for training by YOLOR's recipe or by C Darknet's; every change takes its generator."""
