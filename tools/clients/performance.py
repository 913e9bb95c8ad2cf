"""boto3 against buckets whose ETags are unique ids, and that ignore clients' checksums.

run.sh made them: uid-bucket (--type PERFORMANCE) and off-bucket (with --integrity-mode
disabled besides). Whatever is stored is read back and compared byte for byte.
"""

import base64
import hashlib
import os
import re

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

WORK, CA, ENDPOINT = os.environ["WORK"], os.environ["CA"], os.environ["ENDPOINT"]
UID = re.compile(r'^"[0-9a-f]{32}-[1-9][0-9]*"$')


def client(endpoint=ENDPOINT, **kw):
    return boto3.client("s3", endpoint_url=endpoint, verify=CA,
                        config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}, **kw))


def code(fn, **kw):
    try:
        fn(**kw)
    except ClientError as e:
        return e.response["Error"]["Code"]
    return "ok"


def objects(s3, bucket, counts):
    """PutObject with what SDKs send by default, with each algorithm, and with Content-MD5."""
    body = os.urandom(150_000)
    etags = set()
    for extra in ({}, {"ChecksumAlgorithm": "SHA256"}, {"ChecksumAlgorithm": "CRC32"},
                  {"ChecksumSHA1": base64.b64encode(hashlib.sha1(body).digest()).decode()}):
        put = s3.put_object(Bucket=bucket, Key="k", Body=body, **extra)
        assert UID.match(put["ETag"]), put["ETag"]
        etags.add(put["ETag"])
        got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED", IfMatch=put["ETag"])
        assert got["Body"].read() == body and got["ETag"] == put["ETag"]
        told = [k for k in list(put) + list(got) if k.startswith("Checksum")]
        assert bool(told) == counts, told
        attrs = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ETag", "ObjectSize"])
        assert ("Checksum" in attrs) == counts and attrs["ObjectSize"] == len(body)
    assert len(etags) == 4, "an ETag came twice"
    wrong = "BadDigest" if counts else "ok"
    assert code(s3.put_object, Bucket=bucket, Key="w", Body=b"x", ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==") == wrong
    assert code(s3.put_object, Bucket=bucket, Key="w", Body=b"x", ChecksumCRC32="AAAAAA==") == wrong
    assert code(s3.put_object, Bucket=bucket, Key="k", Body=b"x", IfMatch='"0"') == "PreconditionFailed"
    assert code(s3.put_object, Bucket=bucket, Key="k", Body=b"x", IfNoneMatch="*") == "PreconditionFailed"
    copy = s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "k"}, ChecksumAlgorithm="SHA256")
    assert UID.match(copy["CopyObjectResult"]["ETag"])
    assert s3.get_object(Bucket=bucket, Key="c")["Body"].read() == body
    s3.copy_object(Bucket="mybucket", Key="c", CopySource={"Bucket": bucket, "Key": "k"})
    assert s3.head_object(Bucket="mybucket", Key="c")["ETag"] == '"%s"' % hashlib.md5(body).hexdigest()
    s3.delete_object(Bucket="mybucket", Key="c")


def transfers(s3, bucket):
    """upload_file and download_file, in one part and in many."""
    path, back = os.path.join(WORK, "perf.up"), os.path.join(WORK, "perf.down")
    for size in (0, 77, 1 << 20, 23 * (1 << 20) + 7):
        with open(path, "wb") as f:
            f.write(os.urandom(size))
        for extra in ({}, {"ChecksumAlgorithm": "SHA256"}):
            s3.upload_file(path, bucket, "file", ExtraArgs=extra, Config=TransferConfig(multipart_chunksize=5 << 20))
            s3.download_file(bucket, "file", back)
            with open(path, "rb") as a, open(back, "rb") as b:
                assert a.read() == b.read(), size
    os.remove(path)
    os.remove(back)


def multipart(s3, bucket, counts):
    """By hand, with checksums declared, given to the parts, and to the completion."""
    bodies = [os.urandom(5 << 20), os.urandom(99)]
    up = s3.create_multipart_upload(Bucket=bucket, Key="mp", ChecksumAlgorithm="SHA256")
    assert ("ChecksumAlgorithm" in up) == counts
    parts = []
    for n, body in enumerate(bodies, 1):
        r = s3.upload_part(Bucket=bucket, Key="mp", UploadId=up["UploadId"], PartNumber=n, Body=body, ChecksumAlgorithm="SHA256")
        assert UID.match(r["ETag"]) and ("ChecksumSHA256" in r) == counts
        sum = base64.b64encode(hashlib.sha256(body).digest()).decode()
        parts.append({"PartNumber": n, "ETag": r["ETag"], "ChecksumSHA256": sum})
    listed = s3.list_parts(Bucket=bucket, Key="mp", UploadId=up["UploadId"])["Parts"]
    assert [p["ETag"] for p in listed] == [p["ETag"] for p in parts] and ("ChecksumSHA256" in listed[0]) == counts
    done = s3.complete_multipart_upload(Bucket=bucket, Key="mp", UploadId=up["UploadId"], MultipartUpload={"Parts": parts})
    assert UID.match(done["ETag"]) and done["ETag"].endswith('-2"') and ("ChecksumSHA256" in done) == counts
    got = s3.get_object(Bucket=bucket, Key="mp", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"".join(bodies)
    up = s3.create_multipart_upload(Bucket=bucket, Key="mpc")["UploadId"]
    r = s3.upload_part_copy(Bucket=bucket, Key="mpc", UploadId=up, PartNumber=1, CopySource=f"{bucket}/mp", CopySourceRange="bytes=7-999")
    s3.complete_multipart_upload(Bucket=bucket, Key="mpc", UploadId=up, MultipartUpload={
        "Parts": [{"PartNumber": 1, "ETag": r["CopyPartResult"]["ETag"]}]})
    assert s3.get_object(Bucket=bucket, Key="mpc")["Body"].read() == bodies[0][7:1000]


def main():
    for name, s3 in (("https", client()), ("http", client(endpoint=os.environ["PLAIN"])),
                     ("as older SDKs", client(request_checksum_calculation="when_required",
                                              response_checksum_validation="when_required"))):
        for bucket, counts in (("uid-bucket", True), ("off-bucket", False)):
            objects(s3, bucket, counts)
            transfers(s3, bucket)
            multipart(s3, bucket, counts)
        print(f"   {name} ok", flush=True)


main()
