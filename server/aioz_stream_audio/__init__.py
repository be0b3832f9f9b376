"""Put an audio file on AIOZ Stream, and get back a link that plays."""

__version__ = "0.1.0"
