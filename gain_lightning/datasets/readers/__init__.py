"""What lies on a disk, as a :class:`~gain_lightning.datasets.listing.Listing`; without torch."""
