"""The laws that the built-in SDEs and solvers pass, for yours.


    def test_my_solver(): assert check_solver(MySolver())

Needs neither pytest nor hypothesis. `torchdiff check package.module:MySolver` prints the same report.
"""

from torchdiff.testing.report import Finding, Report
from torchdiff.testing.sdes import check_sde
from torchdiff.testing.solvers import check_solver

__all__ = ["Finding", "Report", "check_sde", "check_solver"]
