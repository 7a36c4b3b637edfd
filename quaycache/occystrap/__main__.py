"""``python -m quaycache.occystrap``."""

from quaycache.occystrap.launcher import main

if __name__ == "__main__":
    main()
