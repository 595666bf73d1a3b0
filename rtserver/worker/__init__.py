"""The audio worker process: native stream threads and the encoder thread, nothing else.

Imports neither torch nor aiohttp.
"""
