"""``python -m quaycache``."""

from quaycache.cli import main

if __name__ == "__main__":
    main()
