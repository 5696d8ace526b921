"""An exact interpreter for Darknet and YOLOR cfg networks."""
