"""`python -m yolor_cfg` is the command `yolor`."""

from yolor_cfg.cli import main

if __name__ == "__main__":
    main()
