"""Prints what botocore frames as aws-chunked, for botocore_test.go.

Usage: botocore_body.py SIZE CHUNK ALGORITHM. Prints the wire bytes in hex; the
payload is the byte i % 251 at offset i.
"""
import io
import sys

from botocore.httpchecksum import AwsChunkedWrapper, _CHECKSUM_CLS

size, chunk, algorithm = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
data = bytes(i % 251 for i in range(size))
body = AwsChunkedWrapper(io.BytesIO(data), checksum_cls=_CHECKSUM_CLS[algorithm],
                         checksum_name="x-amz-checksum-" + algorithm, chunk_size=chunk)
print(body.read().hex())
