"""Bridges to neighbouring packages, each imported only when it is asked for."""
