"""Never ends its import; starts a process that does not end either, and says which."""

import os
import subprocess
import sys
import time

child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
with open(os.environ["BAD_CHILD"], "w") as file:
    file.write(str(child.pid))
time.sleep(3600)
