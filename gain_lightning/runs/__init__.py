"""One run on disk: the writer and the reader of each of its files, side by side.

==================  ==========================================================================================
file                module
==================  ==========================================================================================
``config.yaml``     ``settings``; also which of them may differ when the run is resumed or tested
``summary.json``    ``summary``; also ``error.txt``, why a run failed
``metrics.csv``     ``curves``
``per_image.csv``   ``images`` of a classifier, ``pixels`` of a network that segments
``per_class.csv``   ``classes``
``per_group.csv``   ``groups``
``maps.npz``        ``maps``
``checkpoints/``    ``checkpoints``, the one module here that needs torch; which of them is meant says ``folder``
``.lock``           ``folder``
==================  ==========================================================================================

``masked_ids.txt`` is a mask list as a user may write one: ``datasets.mask_budget`` writes and reads those. ``read``
reads a finished run as a whole, and ``provenance`` says which commit it was made by.
"""
