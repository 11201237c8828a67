"""Figures, one file each: `draw(table) -> Figure` turns a table into a picture; `style` is what they share."""
