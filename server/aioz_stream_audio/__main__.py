"""``python -m aioz_stream_audio`` is the command ``audio-upload-aioz-stream``."""

from .cli import main

if __name__ == "__main__":
    main()
