"""The network as a picture: its layers in stages, how they are connected, what each costs."""
