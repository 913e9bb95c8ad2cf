package s3fast

import (
	"strings"
	"testing"

	"github.com/sluicehq/sluice/engine"
)

// Every family of operations works with the bucket in the Host header (Amazon S3
// User Guide, "Virtual hosting of general purpose buckets"), and sees the same
// objects as path-style requests do.
func TestVirtualHost(t *testing.T) {
	r := newRig(t, nil)
	const host = "my.bkt.s3.example.com"
	virtual := func(method, target, body string, header ...string) call {
		return call{method: method, target: target, host: host, body: body, header: with(header...)}
	}
	if a := r.want(virtual("PUT", "/", ""), "200"); a.header.Get("Location") != "/my.bkt" {
		t.Errorf("Location %q", a.header.Get("Location"))
	}
	r.want(virtual("HEAD", "/", ""), "200")
	r.want(virtual("GET", "/?location", ""), "200")
	r.want(virtual("PUT", "/other/key%20+", "hello"), "200") // not the bucket "other"
	r.want(virtual("PUT", "/copy", "", "x-amz-copy-source", "my.bkt/other/key%20%2B"), "200")
	a := r.want(virtual("GET", "/?list-type=2", ""), "200")
	equal(t, "keys", elements(a.body, "Key"), []string{"copy", "other/key +"})
	for _, target := range []string{"/my.bkt/other/key%20+", "/my.bkt/copy"} {
		if a := r.want(call{method: "GET", target: target}, "200"); a.body != "hello" {
			t.Errorf("%s: %q", target, a.body)
		}
	}

	first := noise(engine.MinPartSize, 9)
	a = r.want(virtual("POST", "/dir/big?uploads", ""), "200")
	id := elements(a.body, "UploadId")[0]
	equal(t, "bucket", elements(a.body, "Bucket"), []string{"my.bkt"})
	equal(t, "key", elements(a.body, "Key"), []string{"dir/big"})
	r.want(virtual("PUT", partURL("/dir/big", id, 1), first), "200")
	r.want(virtual("PUT", partURL("/dir/big", id, 2), "", "x-amz-copy-source", "my.bkt/copy"), "200")
	a = r.want(virtual("GET", "/?uploads", ""), "200")
	equal(t, "uploads", elements(a.body, "UploadId"), []string{id})
	a = r.want(virtual("POST", "/dir/big?uploadId="+id, completion("1", etagOf(first), "2", etagOf("hello"))), "200")
	equal(t, "location", elements(a.body, "Location"), []string{"http://" + host + "/dir/big"})
	if a := r.want(call{method: "GET", target: "/my.bkt/dir/big"}, "200"); a.body != first+"hello" {
		t.Errorf("%d bytes", len(a.body))
	}

	// The service has the domain's own name, with or without a port.
	for _, h := range []string{"s3.example.com", "s3.example.com:9000", ""} {
		a := r.want(call{method: "GET", target: "/", host: h}, "200")
		equal(t, "buckets of "+h, elements(a.body, "Name"), []string{"my.bkt"})
	}
	r.want(call{method: "GET", target: "/copy", host: "none.s3.example.com"}, "404 NoSuchBucket")
	r.want(call{method: "GET", target: "/copy", host: "b_d.s3.example.com"}, "400 InvalidBucketName")
	r.want(call{method: "GET", target: "/copy", host: host, user: rigNobody}, "403 AccessDenied")

	doc := "<Delete>" + strings.Repeat("<Object><Key>copy</Key></Object>", 2) +
		"<Object><Key>dir/big</Key></Object><Object><Key>other/key +</Key></Object></Delete>"
	r.want(virtual("POST", "/?delete", doc), "200")
	r.want(virtual("DELETE", "/", ""), "204")
	r.want(virtual("HEAD", "/", ""), "404")
}
