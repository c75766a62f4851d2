"""What single file formats need before and after Pillow decodes them. numpy and Pillow only."""
