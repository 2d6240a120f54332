"""`python -m jaxreason VERB ...`"""

import sys

from jaxreason.cli.main import main

sys.exit(main())
