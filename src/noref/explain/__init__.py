"""Where a model sees quality in a photo: maps, drawings of them, and checks of what they are worth.

The local quality map needs the base install alone; what looks into a trained network (`cams`, `looks`, `torch_model`)
imports torch and is imported by `opening` only when a model needs it.
"""
