"""Steps against quality: solvers on one network, the same noise, counted calls, every number beside its floor.

cells = torchdiff.bench.run("digits", quick=True, out="out/bench")
print(torchdiff.bench.table(cells))
torchdiff.bench.plot(cells, "out/bench"); torchdiff.bench.report(cells, "out/bench/report.html")
"""

from torchdiff.bench.advice import answer
from torchdiff.bench.cells import Cells
from torchdiff.bench.gallery import gallery
from torchdiff.bench.plots import pictures, plot
from torchdiff.bench.reports import report
from torchdiff.bench.running import load, run
from torchdiff.bench.tables import table

__all__ = ["Cells", "answer", "gallery", "load", "pictures", "plot", "report", "run", "table"]
