"""From files on a disk to records, splits and crops; knows no model and no degradation."""
