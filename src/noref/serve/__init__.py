"""The service: an HTTP API and its page. Behind `noref serve`; needs the extra `serve`."""
