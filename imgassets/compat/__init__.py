"""The conversion-library guide's names, over the one API underneath."""
