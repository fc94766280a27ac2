"""moto's S3 on loopback, behind a door of ours: it can be shut and opened again, and fail in the middle."""

from __future__ import annotations

import threading
from typing import Any


class S3:
    """A server that keeps its buckets in memory while its door is shut; after `puts` writes it answers 503 to more."""

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app

        self.puts = -1
        self._store = DomainDispatcherApplication(create_backend_app)
        self._port = 0  # any, and the same from then on
        self.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """What its clients need in their environment."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "MLFLOW_S3_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Open the door."""
        from werkzeug.serving import make_server

        self._server = make_server("127.0.0.1", self._port, self._answer, threaded=True)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def kill(self) -> None:
        """Shut the door."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def make(self, bucket: str) -> None:
        """Make a bucket."""
        import boto3

        login = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", **login).create_bucket(Bucket=bucket)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].count("/") > 1:
            if self.puts == 0:
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                start_response("503 Slow Down", [("Content-Length", "0")])
                return []
            self.puts -= 1
        return self._store(environ, start_response)
