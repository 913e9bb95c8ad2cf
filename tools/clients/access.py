"""boto3 and curl: temporary credentials, forms of browsers, tags.

Runs against $ENDPOINT, its certificate verified against $CA. Forms are signed by
boto3 and sent by curl, whose multipart/form-data is not ours.
"""

import hashlib
import json
import os
import subprocess
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

WORK, CA, ENDPOINT = os.environ["WORK"], os.environ["CA"], os.environ["ENDPOINT"]
BUCKET = "access-bucket"


def client(service, credentials=None, **kw):
    keys = {}
    if credentials:
        keys = dict(aws_access_key_id=credentials["AccessKeyId"], aws_secret_access_key=credentials["SecretAccessKey"],
                    aws_session_token=credentials["SessionToken"])
    config = dict(retries={"max_attempts": 1}, signature_version="s3v4") if service == "s3" else {}
    if service == "s3":
        config["s3"] = {"addressing_style": "path"}
    return boto3.client(service, endpoint_url=ENDPOINT, verify=CA, config=Config(**config), **keys, **kw)


def expect(code, fn, **kw):
    try:
        fn(**kw)
    except ClientError as e:
        got = e.response["Error"]["Code"]
        assert code == got, f"{fn.__name__}: {got} instead of {code}: {e}"
        return
    raise AssertionError(f"{fn.__name__} succeeded; expected {code}")


def sessions(s3):
    sts = client("sts")
    who = sts.get_caller_identity()
    assert who["Arn"].endswith(":user/S3_user"), who
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": f"arn:aws:s3:::{BUCKET}/session/*"}]}
    got = sts.assume_role(RoleArn="arn:aws:iam::000000000000:role/any", RoleSessionName="clients",
                          DurationSeconds=900, Policy=json.dumps(policy))
    left = got["Credentials"]["Expiration"].timestamp() - time.time()
    assert 800 < left <= 901 and 0 < got["PackedPolicySize"] <= 100, got
    assert client("sts", got["Credentials"]).get_caller_identity()["Arn"] == got["AssumedRoleUser"]["Arn"]
    narrow = client("s3", got["Credentials"])
    body = os.urandom(300_000)
    narrow.put_object(Bucket=BUCKET, Key="session/k", Body=body)
    assert narrow.get_object(Bucket=BUCKET, Key="session/k")["Body"].read() == body
    expect("AccessDenied", narrow.put_object, Bucket=BUCKET, Key="k", Body=b"x")
    expect("AccessDenied", narrow.delete_object, Bucket=BUCKET, Key="session/k")
    url = narrow.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "session/k"}, ExpiresIn=60)
    assert curl(url)[1] == body
    expect("AccessDenied", client("sts", got["Credentials"]).assume_role, RoleArn="arn:aws:iam::000000000000:role/any",
           RoleSessionName="again")
    expect("ValidationError", sts.assume_role, RoleArn="arn:aws:iam::000000000000:role/any", RoleSessionName="long",
           DurationSeconds=700_000)
    expect("MalformedPolicyDocument", sts.assume_role, RoleArn="arn:aws:iam::000000000000:role/any",
           RoleSessionName="bad", Policy="{}")
    expect("SignatureDoesNotMatch", boto3.client("sts", endpoint_url=ENDPOINT, verify=CA,
                                                 aws_access_key_id="S3_user", aws_secret_access_key="wrong").get_caller_identity)
    return client("s3", got["Credentials"])


def curl(*args):
    """Returns the status and the body."""
    out = subprocess.run(["curl", "-sS", "--cacert", CA, "-w", "\n%{http_code}", *args], check=True, capture_output=True).stdout
    body, _, status = out.rpartition(b"\n")
    return int(status), body


def post(form, path, last=True):
    fields = [a for name, value in form["fields"].items() for a in ("--form-string", f"{name}={value}")]
    tail = [] if last else ["--form-string", "submit=Upload"]
    return curl(*fields, "-F", f"file=@{path};filename=päth.bin", *tail, form["url"])


def forms(s3, session):
    path = os.path.join(WORK, "form.up")
    for size in (0, 10, 70_000, 5 << 20):
        body = os.urandom(size)
        with open(path, "wb") as f:
            f.write(body)
        conditions = [["content-length-range", size, size], {"x-amz-meta-by": "a form"}, {"success_action_status": "201"}]
        for signer, key in ((s3, "form/${filename}"), (session, "session/form")):
            form = signer.generate_presigned_post(BUCKET, key, Conditions=list(conditions), ExpiresIn=60,
                                                  Fields={"x-amz-meta-by": "a form", "success_action_status": "201"})
            status, answer = post(form, path)
            assert status == 201 and hashlib.md5(body).hexdigest().encode() in answer, (size, status, answer)
            got = s3.get_object(Bucket=BUCKET, Key=key.replace("${filename}", "päth.bin"))
            assert got["Body"].read() == body and got["Metadata"] == {"by": "a form"}
    small = s3.generate_presigned_post(BUCKET, "form/small", Conditions=[["content-length-range", 0, 10]], ExpiresIn=60)
    status, answer = post(small, path)
    assert status == 400 and b"EntityTooLarge" in answer, answer
    with open(path, "wb") as f:
        f.write(b"0123456789")
    assert post(small, path, last=False)[0] == 204
    outside = session.generate_presigned_post(BUCKET, "form/outside", ExpiresIn=60)
    assert post(outside, path)[0] == 403
    small["fields"]["key"] = "form/other"
    assert post(small, path)[0] == 403


def tags(s3):
    s3.put_object(Bucket=BUCKET, Key="tagged", Body=b"x", Tagging="team=red&long=a%20b")
    get = lambda: s3.get_object_tagging(Bucket=BUCKET, Key="tagged")["TagSet"]
    assert get() == [{"Key": "team", "Value": "red"}, {"Key": "long", "Value": "a b"}]
    assert s3.get_object(Bucket=BUCKET, Key="tagged")["TagCount"] == 2
    s3.put_object_tagging(Bucket=BUCKET, Key="tagged", Tagging={"TagSet": [{"Key": "ü", "Value": ""}]})
    assert get() == [{"Key": "ü", "Value": ""}]
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "tagged"})
    assert s3.get_object_tagging(Bucket=BUCKET, Key="copy")["TagSet"] == get()
    s3.delete_object_tagging(Bucket=BUCKET, Key="tagged")
    assert get() == []


def main():
    s3 = client("s3")
    s3.create_bucket(Bucket=BUCKET)
    session = sessions(s3)
    forms(s3, session)
    tags(s3)
    for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        s3.delete_object(Bucket=BUCKET, Key=item["Key"])
    s3.delete_bucket(Bucket=BUCKET)


if __name__ == "__main__":
    main()
