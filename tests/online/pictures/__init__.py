"""The pictures that papers print."""
