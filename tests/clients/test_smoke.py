"""Stock Python and curl, every route: `smoke.py` against the server."""

import shutil

import smoke


def test_stock_clients(server):
    client = smoke.Server(server.base)
    voice, recording = smoke.standard_library(client)
    assert shutil.which("curl"), "curl is part of this test"
    smoke.curl(client, voice, recording)
