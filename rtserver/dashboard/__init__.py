"""The dashboard: what the page at http://127.0.0.1:PORT shows and does. Runs in the control process, beside the audio.

The page is static files (`static/`); everything that moves goes through one WebSocket (`live.py`).
"""
