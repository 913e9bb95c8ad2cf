"""boto3: server-side encryption by SSE-S3, SSE-KMS and SSE-C.

Runs against $ENDPOINT over HTTPS, its certificate verified against $CA, on a
server with key management. Whatever is stored is read back and compared.
"""

import hashlib
import io
import os

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

CA, ENDPOINT = os.environ["CA"], os.environ["ENDPOINT"]
BUCKET = "encryption-bucket"
KEY, OTHER = os.urandom(32), os.urandom(32)
CUSTOMER = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY}
WRONG = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": OTHER}
SOURCE = {"CopySourceSSECustomerAlgorithm": "AES256", "CopySourceSSECustomerKey": KEY}
PARTS = TransferConfig(multipart_threshold=6 << 20, multipart_chunksize=5 << 20)


def expect(code, fn, **kw):
    try:
        fn(**kw)
    except ClientError as e:
        got = e.response["Error"]["Code"]
        status = str(e.response["ResponseMetadata"]["HTTPStatusCode"])
        assert code in (got, status), f"{fn.__name__}: {got} ({status}) instead of {code}"
        return
    raise AssertionError(f"{fn.__name__} succeeded; expected {code}")


def round_trip(s3, key, write, read, told):
    """Small and large objects, ranges, HEAD, and what the answers tell."""
    for size in (0, 100, 70_000, 12 * (1 << 20) + 5):
        body = os.urandom(size)
        s3.upload_fileobj(io.BytesIO(body), BUCKET, key, ExtraArgs=write, Config=PARTS)
        got = s3.get_object(Bucket=BUCKET, Key=key, **read)
        assert got["Body"].read() == body, (key, size)
        for answer in (got, s3.head_object(Bucket=BUCKET, Key=key, **read)):
            for name, value in told.items():
                assert answer.get(name) == value, (key, name, answer.get(name))
        if size > 1000:
            got = s3.get_object(Bucket=BUCKET, Key=key, Range=f"bytes={size - 6000}-{size - 2}", **read)
            assert got["Body"].read() == body[-6000:-1], key
        back = io.BytesIO()
        s3.download_fileobj(BUCKET, key, back, ExtraArgs=read, Config=PARTS)
        assert back.getvalue() == body, (key, size)


def customer_keys(s3):
    round_trip(s3, "c", CUSTOMER, CUSTOMER, {"SSECustomerAlgorithm": "AES256"})
    body = os.urandom(1000)
    put = s3.put_object(Bucket=BUCKET, Key="c", Body=body, **CUSTOMER)
    assert put["ETag"] != '"%s"' % hashlib.md5(body).hexdigest()
    expect("InvalidRequest", s3.get_object, Bucket=BUCKET, Key="c")
    expect("400", s3.head_object, Bucket=BUCKET, Key="c")
    expect("AccessDenied", s3.get_object, Bucket=BUCKET, Key="c", **WRONG)
    expect("403", s3.head_object, Bucket=BUCKET, Key="c", **WRONG)
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "c"}, ServerSideEncryption="AES256", **SOURCE)
    got = s3.get_object(Bucket=BUCKET, Key="copy")
    assert got["Body"].read() == body and got["ServerSideEncryption"] == "AES256"
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "c"}, **SOURCE, **WRONG)
    assert s3.get_object(Bucket=BUCKET, Key="copy", **WRONG)["Body"].read() == body
    expect("AccessDenied", s3.get_object, Bucket=BUCKET, Key="copy", **CUSTOMER)


def managed_keys(s3):
    round_trip(s3, "s3", {"ServerSideEncryption": "AES256"}, {}, {"ServerSideEncryption": "AES256"})
    round_trip(s3, "kms", {"ServerSideEncryption": "aws:kms"}, {}, {"ServerSideEncryption": "aws:kms"})
    body = os.urandom(1000)
    put = s3.put_object(Bucket=BUCKET, Key="s3", Body=body, ServerSideEncryption="AES256")
    assert put["ETag"] == '"%s"' % hashlib.md5(body).hexdigest() and put["ServerSideEncryption"] == "AES256"
    put = s3.put_object(Bucket=BUCKET, Key="kms", Body=body, ServerSideEncryption="aws:kms",
                        SSEKMSEncryptionContext="eyJhIjoiYiJ9", BucketKeyEnabled=True)
    assert put["SSEKMSEncryptionContext"] == "eyJhIjoiYiJ9" and put["BucketKeyEnabled"] and put["SSEKMSKeyId"]
    expect("InvalidRequest", s3.get_object, Bucket=BUCKET, Key="s3", **CUSTOMER)
    for name in ("clients", "alias/clients", "arn:aws:kms:us-east-1:000000000000:key/clients"):
        put = s3.put_object(Bucket=BUCKET, Key="kms", Body=body, ServerSideEncryption="aws:kms", SSEKMSKeyId=name)
        assert put["SSEKMSKeyId"].endswith("clients"), put
        assert s3.get_object(Bucket=BUCKET, Key="kms")["Body"].read() == body
    expect("KMS.NotFoundException", s3.put_object, Bucket=BUCKET, Key="x", Body=b"", ServerSideEncryption="aws:kms",
           SSEKMSKeyId="no-such-key")


def defaults(s3):
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": True}
    s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [rule]})
    got = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
    assert got == [rule], got
    assert s3.put_object(Bucket=BUCKET, Key="d", Body=b"x")["ServerSideEncryption"] == "aws:kms"
    assert s3.get_object(Bucket=BUCKET, Key="d")["Body"].read() == b"x"
    assert s3.put_object(Bucket=BUCKET, Key="d", Body=b"x", ServerSideEncryption="AES256")["ServerSideEncryption"] == "AES256"
    s3.delete_bucket_encryption(Bucket=BUCKET)


def main():
    s3 = boto3.client("s3", endpoint_url=ENDPOINT, verify=CA,
                      config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}))
    s3.create_bucket(Bucket=BUCKET)
    for test in (customer_keys, managed_keys, defaults):
        test(s3)
        print("ok", test.__name__)
    for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]:
        s3.delete_object(Bucket=BUCKET, Key=item["Key"])
    s3.delete_bucket(Bucket=BUCKET)


main()
