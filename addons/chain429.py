"""What mitmproxy is given: ``mitmdump -s addons/chain429.py``. The addon itself is in ``chain429/proxy``."""

import importlib.util
import sys
from pathlib import Path

_folder = Path(__file__).resolve().parent
# mitmproxy puts a script's own folder first on the path, and there this file would be taken for the package.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _folder]
if importlib.util.find_spec("chain429") is None:
    sys.path.append(str(_folder.parent))  # a checkout that is not installed

from chain429.proxy.addon import Addon  # noqa: E402  the path comes first

addons = [Addon()]
