"""Server tools shipped in the wheel."""
