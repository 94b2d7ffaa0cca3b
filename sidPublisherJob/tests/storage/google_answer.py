"""Google's answers as its client libraries raise them, made of recorded shapes."""

import json

import grpc
import requests
from google.api_core import exceptions

#: What was asked for, in the cases of `google_access` and `google_failure`.
SUBJECT = "gs://lake/x"


def rest(code, message, reason, **more):
    """The exception of google-api-core for an answer of a JSON API."""
    item = {"message": message, "domain": "global", "reason": reason}
    body = {"error": {"code": code, "message": message, "errors": [item], **more}}
    return answered(code, json.dumps(body), "application/json; charset=UTF-8")


def answered(status, body, kind="text/html"):
    response = requests.Response()
    response.status_code = status
    response._content = body.encode()
    response.headers["Content-Type"] = kind
    url = "https://bigquery.googleapis.com/bigquery/v2/projects/acme/jobs?prettyPrint=false"
    response.request = requests.Request("POST", url).prepare()
    response.url = url
    return exceptions.from_http_response(response)


def download(status, body):
    """The exception of google-cloud-storage for an answer to a download."""
    response = requests.Response()
    response.status_code = status
    response._content = body.encode()
    words = "('Request failed with status code', 403, 'Expected one of', <HTTPStatus.OK: 200>)"
    message = f"GET https://storage.googleapis.com/download/storage/v1/b/l/o/x: {body}: {words}"
    return exceptions.from_http_status(status, message, response=response)


class Rpc(grpc.RpcError, grpc.Call):
    """A gRPC error as a call raises it."""

    def __init__(self, code, details):
        super().__init__()
        self._code, self._details = code, details

    def code(self):
        return self._code

    def details(self):
        return self._details

    def trailing_metadata(self):
        return ()

    initial_metadata = is_active = time_remaining = cancel = add_callback = trailing_metadata
