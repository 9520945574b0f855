"""The HTTP service on port 4020: health, metrics, pipelines, quality reports, stop and resume.

Endpoints are thin: they read and act through the platform's own interfaces, as the command line
does, and know no pipeline. Nothing changes state without a token.
"""
