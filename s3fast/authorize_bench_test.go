package s3fast

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/s3fast/policy"
)

// benchRig is a server without listener traffic, a bucket with a policy, and a
// user with ten policies; it returns the signed request of the user.
func benchRig(tb testing.TB, bucketPolicy bool, policies int) (*Server, *fasthttp.RequestCtx) {
	r := newRig(tb, func(c *Config) { c.MaxClockSkew = 24 * time.Hour })
	ctx := tb.Context()
	r.bucket("bkt")
	for i := range policies {
		name := fmt.Sprintf("p%d", i)
		text := allow("", "GetObject PutObject", "/*", condition("IpAddress", "aws:SourceIp", fmt.Sprintf(`["10.0.%d.0/24"]`, i)))
		if i == policies-1 {
			text = allow("", "GetObject", "/*", condition("StringLike", "aws:username", `"nem*"`))
		}
		_, err := r.iam.AddPolicy(ctx, name, []byte(policyText(text, deny("", "DeleteObject", "/locked/*", ""))), true)
		must(tb, err)
		must(tb, r.iam.AttachMore(ctx, name, rigNobody))
	}
	if bucketPolicy {
		must(tb, r.s.SetBucketPolicy(ctx, "bkt", []byte(policyText(
			allow("*", "GetObject", "/pub/*", ""),
			deny("*", "*", " /*", condition("NotIpAddress", "aws:SourceIp", `["127.0.0.0/8","10.0.0.0/8"]`)),
			deny("*", "PutObject", "/*", condition("StringNotEquals", "s3:x-amz-acl", `"bucket-owner-full-control"`))))))
	}
	head := r.head(call{method: "GET", target: "/bkt/some/longer/key.jpg", user: rigNobody})
	c := new(fasthttp.RequestCtx)
	c.Init(&fasthttp.Request{}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}, nil)
	must(tb, c.Request.Header.Read(bufio.NewReader(strings.NewReader(head))))
	return r.s, c
}

// The cost of authorisation does not grow with users, and it allocates nothing
// but the resource's name and values of keys that policies name.
func TestAuthorizeAllocations(t *testing.T) {
	allocs := func(policies int) float64 {
		s, ctx := benchRig(t, true, policies)
		r := s.newRequest(ctx, nil)
		defer s.inFlight.Add(-1)
		must(t, r.prepare())
		return testing.AllocsPerRun(200, func() {
			must(t, r.findBucket())
			must(t, r.authorize())
		})
	}
	one, many := allocs(1), allocs(12)
	if one > 4 || many > one {
		t.Errorf("%v allocations with one policy, %v with twelve", one, many)
	}
}

func BenchmarkPrepare(b *testing.B) {
	for _, c := range []struct {
		name     string
		bucket   bool
		policies int
	}{{"1policy", false, 1}, {"10policies+bucket", true, 10}} {
		b.Run(c.name, func(b *testing.B) {
			s, ctx := benchRig(b, c.bucket, c.policies)
			b.ReportAllocs()
			for b.Loop() {
				r := s.newRequest(ctx, nil)
				if err := r.prepare(); err != nil {
					b.Fatal(err)
				}
				s.inFlight.Add(-1)
				r.release()
			}
		})
	}
}

func BenchmarkAuthorize(b *testing.B) {
	for _, policies := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("%dpolicies+bucket", policies), func(b *testing.B) {
			s, ctx := benchRig(b, true, min(policies, 10))
			r := s.newRequest(ctx, nil)
			defer s.inFlight.Add(-1)
			if err := r.prepare(); err != nil {
				b.Fatal(err)
			}
			if policies > 10 { // more than a user can have
				id := *r.identity
				for i := range policies - 10 {
					p, err := policy.Parse([]byte(policyText(allow("", "PutObject", fmt.Sprintf("/x%d/*", i), ""))))
					must(b, err)
					id.Policies = append(id.Policies[:len(id.Policies):len(id.Policies)], p)
				}
				r.identity = &id
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := r.findBucket(); err != nil {
					b.Fatal(err)
				}
				if err := r.authorize(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
