package s3fast

import (
	"slices"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/policy"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// The values of keys that no end-to-end test reaches; all are asked for at one
// question, twice, so that what was handed out first is seen to stay.
func TestConditionKeys(t *testing.T) {
	start := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	ctx := new(fasthttp.RequestCtx)
	ctx.Init(&fasthttp.Request{}, tcpAddr("192.0.2.1"), nil)
	r := &request{
		s: &Server{cfg: Config{Region: "eu-central-1"}}, ctx: ctx, started: start,
		op: &operation{name: "PutObject"}, tagged: true, tags: []meta.Header{{Name: "A", Value: "1"}, {Name: "b", Value: ""}},
		identity: &iam.Identity{Kind: iam.KindSession, UserID: "AROA:s", Web: &iam.WebIdentity{
			Issuer: "https://id.example.com/realm", Subject: "sub", Audience: "aud"},
			Principal: policy.Principal{Account: "000000000000", ARN: "arn:s", Parents: []string{"arn:role"}}},
		auth: sigv4.Result{Presigned: true, Scope: "x", Time: start.Add(-1500 * time.Millisecond)},
		headers: headers{list: []pair{
			{"x-amz-object-lock-mode", "GOVERNANCE"}, {"x-amz-object-lock-retain-until-date", "2026-03-14T05:06:06Z"},
			{"x-amz-object-lock-legal-hold", "ON"}, {"x-amz-metadata-directive", " replace "}, {"x-amz-copy-source", "/a%2Fb/c?versionId=null"},
			{"x-amz-server-side-encryption-aws-kms-key-id", "k"}, {"if-match", "e"},
		}},
	}
	q := &question{r: r, bucket: "bkt", key: "k", version: "null",
		tagged: true, tags: []meta.Header{{Name: "Colour", Value: "red"}}}
	want := map[string][]string{
		"aws:sourceip": {"192.0.2.1"}, "aws:securetransport": {"false"}, "aws:currenttime": {"2026-03-04T05:06:07Z"},
		"aws:epochtime": {"1772600767"}, "aws:requestedregion": {"eu-central-1"}, "aws:resourceaccount": {accountID},
		"aws:viaawsservice": {"false"}, "aws:principaltype": {"AssumedRole"}, "aws:principalarn": {"arn:role"},
		"aws:principalaccount": {accountID}, "aws:userid": {"AROA:s"}, "aws:username": nil, "aws:useragent": nil, "aws:referer": nil,
		"aws:federatedprovider": {"id.example.com/realm"}, "jwt:iss": {"https://id.example.com/realm"}, "jwt:sub": {"sub"}, "jwt:aud": {"aud"}, "jwt:x": nil,
		"aws:tokenissuetime": nil, "s3:prefix": nil, "s3:locationconstraint": nil, "s3:tlsversion": nil,
		"s3:versionid": {"null"}, "s3:authtype": {"REST-QUERY-STRING"}, "s3:signatureversion": {"AWS4-HMAC-SHA256"}, "s3:signatureage": {"1500"},
		"s3:object-lock-mode": {"GOVERNANCE"}, "s3:object-lock-retain-until-date": {"2026-03-14T05:06:06Z"},
		"s3:object-lock-remaining-retention-days": {"9"}, "s3:object-lock-legal-hold": {"ON"}, "s3:if-match": {"e"}, "s3:if-none-match": nil,
		"s3:x-amz-metadata-directive": {"REPLACE"}, "s3:x-amz-copy-source": {"a/b/c"}, "s3:x-amz-acl": nil,
		"s3:x-amz-server-side-encryption-aws-kms-key-id": {"k"}, "s3:x-amz-content-sha256": nil,
		"s3:existingobjecttag/Colour": {"red"}, "s3:existingobjecttag/colour": nil, "s3:requestobjecttag/A": {"1"}, "s3:requestobjecttag/b": {""},
		"s3:requestobjecttag/c": nil, "s3:requestobjecttagkeys": {"A", "b"}, "s3:objectcreationoperation": {"true"}, "s3:resourceaccount": {accountID},
		"s3:other": nil, "other": nil, "": nil,
	}
	first := map[string][]string{}
	for key, values := range want {
		first[key] = q.Lookup(key)
		if !slices.Equal(first[key], values) || (first[key] == nil) != (values == nil) {
			t.Errorf("%s = %q, want %q", key, first[key], values)
		}
	}
	for key, values := range want {
		if again := q.Lookup(key); !slices.Equal(first[key], values) || !slices.Equal(again, values) {
			t.Errorf("%s became %q, %q", key, first[key], again)
		}
	}
	if q.err != nil || q.open {
		t.Errorf("error %v, open %v", q.err, q.open)
	}
	if n := testing.AllocsPerRun(10, func() { q.Lookup("aws:sourceip") }); n != 0 {
		t.Errorf("%v allocations for a key that is known", n)
	}
}
