"""Drawing primitives of `flowd top`: cells, lines, sparklines, glyphs and colours.

Pure functions from data to text of an exact width in terminal cells, used by views and chrome.
May import nothing else of flowd; only `theme` loads Textual.
"""
