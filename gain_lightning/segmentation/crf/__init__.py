"""Dense CRF (Krähenbühl & Koltun, NIPS 2011)."""
