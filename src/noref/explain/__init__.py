"""Maps of how a model judges the parts of a photo, figures of them, and a test of what they are worth.

The local quality map needs the base install alone; what reads a trained network (`cams`, `attention_maps`, `trained`)
imports torch, and `load` imports it only when a model needs it.
"""
