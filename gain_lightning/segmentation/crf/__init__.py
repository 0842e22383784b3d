"""The dense CRF (Krähenbühl & Koltun, NIPS 2011)."""
