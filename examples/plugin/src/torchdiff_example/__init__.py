"""An SDE and a solver for torchdiff; each is loaded when its name is asked for."""
