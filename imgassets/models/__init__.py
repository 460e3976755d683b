"""The EDM/DMD2 ImageNet-64 network and what is computed with it. No Dagster; torch only inside."""
