"""Signs randomized S3 requests with botocore, for botocore_test.go.

Usage: botocore_sign.py SEED COUNT. Prints one JSON object per line: the request
exactly as a client would send it, headers included.
"""
import io
import json
import random
import sys
from urllib.parse import urlsplit

import boto3
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.utils import percent_encode, percent_encode_sequence

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
ENDPOINT = "http://127.0.0.1:9000"
ODD = [" ", "+", "%", "é", "日本", "//", "..", ".", "~", "&", "=", "?", "#", "*", "(", ")", "'", "!", ",", ";", ":", "@",
       "$", "[", "]", "|", "\\", "^", "`", "{", "}", "<", ">", '"', "%2F", "%20", "\u0301", "a", "B", "9", "-", "_", "\U0001f600"]


class Intercepted(Exception):
    """Raised in place of sending a request."""


def text(rnd, low=1, high=8):
    return "".join(rnd.choice(ODD) for _ in range(rnd.randint(low, high)))


def emit(kind, method, url, headers):
    parts = urlsplit(url)
    pairs = []
    for name, value in headers.items():
        pairs.append([name.lower(), value if isinstance(value, str) else value.decode()])
    print(json.dumps({"kind": kind, "method": method, "path": parts.path, "query": parts.query,
                      "host": parts.netloc, "headers": pairs}))


def signer(rnd, token):
    """botocore's signers on requests of our own making."""
    creds = Credentials(KEY, SECRET, token)
    params = [(text(rnd, 1, 3), text(rnd, 0, 4)) for _ in range(rnd.randint(0, 4))]
    if params and rnd.random() < 0.3:
        params.append((params[0][0], text(rnd, 0, 2)))
    url = ENDPOINT + "/" + percent_encode(text(rnd), safe="/~")
    if params:
        url += "?" + percent_encode_sequence(params)
    headers = {}
    for i in range(rnd.randint(0, 3)):
        headers["x-amz-meta-%d" % i] = "  ".join(rnd.choice(["a", "b c", "x   y", "1,2", '"q"']) for _ in range(rnd.randint(0, 3)))
    if rnd.random() < 0.5:
        headers["Content-Type"] = "text/plain;  charset=utf-8"
    method = rnd.choice(["GET", "PUT", "POST", "DELETE", "HEAD"])
    request = AWSRequest(method=method, url=url, headers=headers, data=b"body" if method == "PUT" else b"")
    if rnd.random() < 0.5:
        S3SigV4Auth(creds, "s3", "us-east-1").add_auth(request)
        emit("signer header", method, request.url, request.headers)
    else:
        del request.headers["Content-Type"]
        request.data = b""  # the query signer would take it for form parameters
        S3SigV4QueryAuth(creds, "s3", "us-east-1", expires=rnd.randint(1, 604800)).add_auth(request)
        emit("signer query", method, request.url, request.headers)


def client_calls(rnd, client):
    """Whole boto3 calls: what really goes over the wire."""
    key = text(rnd).lstrip("/") or "k"
    call = rnd.randrange(7)
    if call == 0:
        client.put_object(Bucket="bucket", Key=key, Body=io.BytesIO(b"x" * 100), Metadata={"a": "b  c"}, Tagging="a=b&c=d")
    elif call == 1:
        client.get_object(Bucket="bucket", Key=key, Range="bytes=0-9", VersionId="null")
    elif call == 2:
        client.list_objects_v2(Bucket="bucket", Prefix=text(rnd), Delimiter="/", StartAfter=key)
    elif call == 3:
        client.copy_object(Bucket="bucket", Key=key, CopySource={"Bucket": "bucket", "Key": text(rnd)})
    elif call == 4:
        client.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": key}]})
    elif call == 5:
        client.upload_part(Bucket="bucket", Key=key, PartNumber=3, UploadId="up+load/=", Body=b"part")
    else:
        client.create_multipart_upload(Bucket="bucket", Key=key, ContentType="a/b", ACL="private")


def presigned(rnd, client, kind="boto3 presigned"):
    key = text(rnd).lstrip("/") or "k"
    params = {"Bucket": "bucket", "Key": key}
    operation, method = rnd.choice([("get_object", "GET"), ("put_object", "PUT"), ("head_object", "HEAD"), ("delete_object", "DELETE")])
    headers = {}
    if operation == "get_object" and rnd.random() < 0.5:
        params["ResponseContentDisposition"] = 'attachment; filename="a b+c.txt"'
    if operation == "put_object" and rnd.random() < 0.5:
        params["ContentType"] = headers["content-type"] = "text/plain"
        params["Metadata"] = {"a": "b"}
        headers["x-amz-meta-a"] = "b"
    url = client.generate_presigned_url(operation, Params=params, ExpiresIn=rnd.randint(1, 604800))
    emit(kind, method, url, headers)


def main():
    rnd = random.Random(int(sys.argv[1]))
    sent = []

    def intercept(request, **_):
        sent.append(request)
        raise Intercepted

    clients = []
    for token in (None, "to+ken/=="):
        client = boto3.client("s3", endpoint_url=ENDPOINT, aws_access_key_id=KEY, aws_secret_access_key=SECRET,
                              aws_session_token=token, region_name="us-east-1",
                              config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 0}))
        client.meta.events.register("before-send.s3", intercept)
        clients.append(client)
    old = boto3.client("s3", endpoint_url=ENDPOINT, aws_access_key_id=KEY, aws_secret_access_key=SECRET,
                       region_name="us-east-1", config=Config(s3={"addressing_style": "path"}))
    for i in range(int(sys.argv[2])):
        client = rnd.choice(clients)
        kind = i % 5
        if kind < 2:
            signer(rnd, rnd.choice([None, "to+ken/=="]))
        elif kind == 2:
            try:
                client_calls(rnd, client)
            except Intercepted:
                request = sent.pop()
                emit("boto3 call", request.method, request.url, request.headers)
        elif kind == 3:
            presigned(rnd, client)
        else:  # version 2, boto3's default in us-east-1
            presigned(rnd, old, "boto3 presigned V2")


main()
