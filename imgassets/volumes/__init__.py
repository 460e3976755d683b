"""CT arithmetic: read a volume, judge it, bring it onto one grid. No Dagster, no network, no paths of its own."""
