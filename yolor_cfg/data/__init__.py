"""Pictures with labelled boxes: four formats read as one, demo pictures, batches to train and test on."""
