"""What mitmproxy is given: ``mitmdump -s addons/chain429.py``. The addon itself is in ``chain429/proxy``."""

import sys
from pathlib import Path

_folder = Path(__file__).resolve().parent
_checkout = str(_folder.parent)
# mitmproxy puts a script's own folder first on the path, and there this file would be taken for the package.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _folder]
# In a checkout it is that checkout's package, whatever else is installed.
if Path(_checkout, "chain429", "proxy").is_dir() and _checkout not in sys.path:
    sys.path.insert(0, _checkout)

from chain429.proxy.addon import Addon  # noqa: E402  the path comes first

addons = [Addon()]
