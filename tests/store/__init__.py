"""The stores: the border to the disk, and what happens there."""
