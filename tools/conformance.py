#!/usr/bin/env python3
"""Runs tests of a checkout of ceph/s3-tests against a daemon (tools/conformance.sh).

    conformance.py CHECKOUT SKIPFILE [--all] [PYTEST-ARGUMENT...]

Each line of SKIPFILE is "CLASS PATTERN REASON": PATTERN is a test's name, may
hold * and ?, and "@MARKER" stands for the tests that bear a pytest marker. The
first line that matches counts; CLASS "pass" makes an exception to later lines,
and so does CLASS "stranger", whose tests run while the suite's second user has no
policy attached ($CTL and $SLUICE_SOCKET say how to reach the daemon). CLASS "plain"
excuses its tests only where $ENCRYPTED is set. Tests that match are left out; with
--all they run too, and those that pass are listed, for their lines can go. Every
other test must pass. Exit code: 0, or 1 when a test failed, or 2 when nothing
could be run.
"""
import collections
import fnmatch
import json
import os
import subprocess
import sys

# A Python of its own (pyenv) may use the modules that Debian packages for the
# same version of Python. They come last, so that its own win.
if sys.prefix != "/usr" and "VIRTUAL_ENV" not in os.environ:
    sys.path.append("/usr/lib/python3/dist-packages")

import botocore.loaders
import botocore.session
import pytest


class Expectations:
    """The skip file."""

    def __init__(self, path):
        self.lines = []  # [class, pattern, reason, uses]
        self.strangers = set()  # node ids
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                line = line.split("#", 1)[0].split(None, 2)
                if not line:
                    continue
                if len(line) != 3:
                    sys.exit(f"{path}:{number}: want CLASS PATTERN REASON")
                self.lines.append([*line, 0])

    def of(self, item):
        """The line that excuses a test, or None."""
        for line in self.lines:
            pattern = line[1]
            if pattern.startswith("@"):
                hit = item.get_closest_marker(pattern[1:]) is not None
            else:
                hit = any(fnmatch.fnmatchcase(name, pattern) for name in (item.originalname, item.name))
            if hit:
                line[3] += 1
                if line[0] == "stranger":
                    self.strangers.add(item.nodeid)
                must = line[0] in ("pass", "stranger") or line[0] == "plain" and not os.environ.get("ENCRYPTED")
                return None if must else line
        return None


class Plugin:
    def __init__(self, expectations, everything):
        self.expectations, self.everything = expectations, everything
        self.lines = {}  # node id → line of the skip file
        self.counts = collections.Counter()  # (class, outcome)
        self.bad, self.good = [], []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items):
        kept, left = [], []
        for item in items:
            line = self.expectations.of(item)
            if line is not None:
                self.lines[item.nodeid] = line
            (kept if line is None or self.everything else left).append(item)
        for item in left:
            self.counts[self.lines[item.nodeid][0], "left out"] += 1
        config.hook.pytest_deselected(items=left)
        items[:] = kept

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item):
        stranger = item.nodeid in self.expectations.strangers
        if stranger:
            second_user("detach")
        PUBLISH["on"] = "acl" not in item.name or "_raw_" in item.name
        yield
        PUBLISH["on"] = False
        if stranger:
            second_user("attach")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report):
        line = self.lines.get(report.nodeid)
        kind = line[0] if line else "must pass"
        if report.when == "call" or report.outcome != "passed":
            self.counts[kind, report.outcome] += 1
            if report.outcome == "passed" and line:
                self.good.append(report.nodeid)
            if report.outcome == "failed" and not line:
                self.bad.append(report.nodeid)
                why = str(report.longrepr).strip().splitlines()[-1:]
                print(f"\n{report.when} of {report.nodeid} failed: {''.join(why)}", flush=True)

    def pytest_terminal_summary(self, terminalreporter, config):
        w = terminalreporter.write_line
        w("")
        for (kind, outcome), n in sorted(self.counts.items()):
            w(f"{kind:12} {outcome:10} {n:5}")
        partial = config.option.keyword or config.option.markexpr
        for line in self.expectations.lines:
            if line[3] == 0 and not partial:
                w(f"matches no test: {line[0]} {line[1]}")
        for nodeid in self.good:
            w(f"passes though it is listed: {nodeid.split('::')[-1]}")
        for nodeid in self.bad:
            w(f"UNEXPECTED FAILURE: {nodeid.split('::')[-1]}")


def second_user(verb):
    """Attach the suite's second user to the policy it works by, or detach it."""
    subprocess.run([os.environ["CTL"], "s3", "policy", verb, "readwrite", "s3_alt_user"],
                   check=True, stdout=subprocess.DEVNULL)


PUBLISH = {"on": False}
CALLS = ("CreateBucket", "PutBucketAcl", "PutObject", "PutObjectAcl")
# What public ACLs give to everyone: reading of a bucket, of an object; writing of a bucket.
LIST = ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
READ = ["s3:GetObject"]
WRITE = ["s3:PutObject", "s3:PutObjectTagging", "s3:DeleteObject"]


def publish():
    """Turn the public ACLs that tests set up into bucket policies that allow the
    same: there are no ACLs. Tests of ACLs themselves see what the server says."""
    import botocore.client
    import requests

    post = requests.post
    requests.post = lambda url, **kw: post(url, **{
        k: {n: f for n, f in v.items() if (n, f) != ("acl", "public-read")} if k == "files" else v
        for k, v in kw.items()})
    call = botocore.client.BaseClient._make_api_call

    def make_api_call(client, operation, params):
        acl = params.get("ACL")
        if not PUBLISH["on"] or acl not in ("public-read", "public-read-write") or operation not in CALLS:
            return call(client, operation, params)
        bucket = params["Bucket"]
        params = {k: v for k, v in params.items() if k != "ACL"}
        out = {} if operation.endswith("Acl") else call(client, operation, params)
        what = "arn:aws:s3:::" + bucket
        if "Key" in params:
            grants = [(READ, what + "/" + params["Key"])]
        else:
            grants = [(LIST, what)]
            if acl == "public-read-write":
                grants.append((WRITE, what + "/*"))
        try:
            old = call(client, "GetBucketPolicy", {"Bucket": bucket})["Policy"]
            policy = json.loads(old)
        except client.exceptions.ClientError:
            policy = {"Version": "2012-10-17", "Statement": []}
        policy["Statement"] += [
            {"Effect": "Allow", "Principal": "*", "Action": actions, "Resource": resource}
            for actions, resource in grants]
        call(client, "PutBucketPolicy", {"Bucket": bucket, "Policy": json.dumps(policy)})
        return out

    botocore.client.BaseClient._make_api_call = make_api_call


def quicken():
    """Make clients cheap: botocore reads its models from disk for each of them,
    and the suite makes a dozen for each test. All users of a cluster are of one
    account and see the same buckets, so that one of them cleans up."""
    loader = botocore.loaders.Loader()
    botocore.session.create_loader = lambda *_: loader

    import s3tests.functional as f  # after the patch
    f.setup = lambda: None
    f.teardown = lambda: f.nuke_prefixed_buckets(prefix=f.get_prefix())


def main(argv):
    if len(argv) < 2:
        sys.exit(__doc__)
    checkout, skipfile, args = argv[0], argv[1], argv[2:]
    expectations = Expectations(skipfile)
    everything = "--all" in args
    args = [a for a in args if a != "--all"]
    os.chdir(checkout)
    sys.path.insert(0, checkout)
    quicken()
    publish()
    if not any(a.endswith(".py") or "::" in a for a in args):
        args += ["s3tests/functional/test_s3.py", "s3tests/functional/test_headers.py"]
    plugin = Plugin(expectations, everything)
    code = pytest.main(["-p", "no:cacheprovider", "-q", *args], plugins=[plugin])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return 2
    return 1 if plugin.bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
