package s3fast

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/s3fast/policy"
)

// The bucket policy API.
func TestBucketPolicyAPI(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	put := func(body string, header ...[2]string) call {
		return call{method: "PUT", target: "/bkt?policy", body: body, header: header}
	}
	for body, names := range map[string]string{
		"{": "ends early",
		policyText(allow("", "GetObject", "/*", "")):                                                 "Statement[0]: Principal",
		policyText(allow("*", "GetObject", "/*", `"Colour":"red"`)):                                  "Colour",
		strings.ReplaceAll(policyText(allow("*", "GetObject", "/*", "")), "bkt", "other"):            "Resource",
		policyText(allow("*", "GetObject", "/*", ""), allow("*", "Get Object", "/*", ""))[:150]:      "",
		policyText(allow("*", "GetObject", "/*", "")) + strings.Repeat(" ", policy.MaxSize):          "larger",
		policyText(allow("*", "GetObject", "/*", condition("Sounds", "aws:SourceIp", `"10.0.0.1"`))): "Condition",
	} {
		a := r.want(put(body), "400 MalformedPolicy")
		if m := elements(a.body, "Message"); len(m) != 1 || !strings.Contains(m[0], names) || strings.Contains(m[0], "policy:") {
			t.Errorf("%.80s: %q, want %q", body, m, names)
		}
	}
	r.want(put(""), "400 MissingRequestBodyError")
	r.want(put(strings.Repeat(" ", maxPolicyBody+1)), "400 MaxMessageLengthExceeded")
	r.want(put("{}", [2]string{"Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="}), "400 BadDigest")
	r.want(call{method: "GET", target: "/bkt?policy"}, "404 NoSuchBucketPolicy")
	r.want(call{method: "GET", target: "/bkt?policyStatus"}, "404 NoSuchBucketPolicy")
	r.want(call{method: "PUT", target: "/none?policy", body: "{}"}, "404 NoSuchBucket")
	r.want(call{method: "PUT", target: "/bkt?policy", body: "{}", user: rigReader}, "403 AccessDenied")

	text := "\n" + policyText(allow("*", "GetObject", "/*", "")) + "\n"
	r.want(put(text), "204")
	if a := r.want(call{method: "GET", target: "/bkt?policy"}, "200"); a.body != text || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("policy %q as %s", a.body, a.header.Get("Content-Type"))
	}
	if a := r.want(call{method: "GET", target: "/bkt?policyStatus"}, "200"); !strings.Contains(a.body, "<IsPublic>true</IsPublic>") {
		t.Error(a.body)
	}
	r.setPolicy(allow("*", "GetObject", "/*", condition("IpAddress", "aws:SourceIp", `"10.0.0.0/8"`)))
	if a := r.want(call{method: "GET", target: "/bkt?policyStatus"}, "200"); !strings.Contains(a.body, "<IsPublic>false</IsPublic>") {
		t.Error(a.body)
	}
	// Nobody locks himself out unawares.
	lock := policyText(deny("*", "PutBucketPolicy", "", ""))
	r.want(put(lock), "403 AccessDenied")
	r.want(put(policyText(deny("*", "*", " /*", condition("Bool", "aws:SecureTransport", `"false"`)))), "403 AccessDenied")
	r.want(put(lock, [2]string{confirmHeader, "false"}), "403 AccessDenied")
	r.want(put(lock, [2]string{confirmHeader, "true"}), "204")
	r.want(put(text), "403 AccessDenied")
	r.want(call{method: "GET", target: "/bkt?policy"}, "200")
	must(t, r.s.SetBucketPolicy(t.Context(), "bkt", []byte(text)))
	r.want(call{method: "DELETE", target: "/bkt?policy"}, "204")
	// Nor whoever may put policies by the bucket's policy only.
	r.setPolicy(allow("arn:aws:iam::"+accountID+":user/"+rigNobody, "PutBucketPolicy", "", ""))
	nemo := put(text)
	nemo.user = rigNobody
	r.want(nemo, "403 AccessDenied")
	nemo.header = with(confirmHeader, "true")
	r.want(nemo, "204")
	// A bucket made again has no policy.
	r.want(call{method: "DELETE", target: "/bkt"}, "204")
	r.bucket("bkt")
	r.want(call{method: "GET", target: "/bkt?policy"}, "404 NoSuchBucketPolicy")
	r.want(anon("GET", "/bkt/k"), "403 AccessDenied")
}

// The public access block.
func TestPublicAccessBlock(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "x")
	put := func(element string) {
		t.Helper()
		r.want(call{method: "PUT", target: "/bkt?publicAccessBlock",
			body: "<PublicAccessBlockConfiguration><" + element + ">true</" + element + "></PublicAccessBlockConfiguration>"}, "200")
		if a := r.want(call{method: "GET", target: "/bkt?publicAccessBlock"}, "200"); strings.Count(a.body, ">true<") != 1 || !strings.Contains(a.body, "<"+element+">true<") {
			t.Error(a.body)
		}
	}
	public := policyText(allow("*", "GetObject", "/*", ""))
	r.want(call{method: "GET", target: "/bkt?publicAccessBlock"}, "404 NoSuchPublicAccessBlockConfiguration")
	put("BlockPublicPolicy")
	r.want(call{method: "PUT", target: "/bkt?policy", body: public}, "403 AccessDenied")
	r.setPolicy(allow("*", "GetObject", "/*", condition("IpAddress", "aws:SourceIp", `"127.0.0.1/32"`)))
	r.want(anon("GET", "/bkt/k"), "200")
	put("BlockPublicAcls")
	r.want(call{method: "PUT", target: "/bkt?policy", body: public}, "204")
	r.want(anon("GET", "/bkt/k"), "200")
	put("RestrictPublicBuckets")
	r.want(anon("GET", "/bkt/k"), "403 AccessDenied")
	r.want(call{method: "GET", target: "/bkt/k", user: rigNobody}, "200") // of the account
	put("IgnorePublicAcls")
	r.want(anon("GET", "/bkt/k"), "200")
	r.want(call{method: "DELETE", target: "/bkt?publicAccessBlock"}, "204")
	r.want(call{method: "GET", target: "/bkt?publicAccessBlock"}, "404 NoSuchPublicAccessBlockConfiguration")
	r.want(call{method: "PUT", target: "/bkt?publicAccessBlock"}, "400 MissingRequestBodyError")
	r.want(call{method: "PUT", target: "/bkt?publicAccessBlock", body: "<x/>"}, "400 MalformedXML")
	r.want(call{method: "PUT", target: "/bkt?publicAccessBlock", body: "<PublicAccessBlockConfiguration/>", user: rigReader}, "403 AccessDenied")
}

// ACLs stay disabled whatever ownership is asked for.
func TestOwnershipControls(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	body := func(rule string) string {
		return "<OwnershipControls><Rule><ObjectOwnership>" + rule + "</ObjectOwnership></Rule></OwnershipControls>"
	}
	target := "/bkt?ownershipControls"
	enforced := func() {
		t.Helper()
		if a := r.want(call{method: "GET", target: target}, "200"); elements(a.body, "ObjectOwnership")[0] != ownershipEnforced {
			t.Error(a.body)
		}
	}
	enforced()
	r.want(call{method: "PUT", target: target, body: body("ObjectWriter")}, "501 NotImplemented")
	r.want(call{method: "PUT", target: target, body: body("BucketOwnerPreferred")}, "501 NotImplemented")
	r.want(call{method: "PUT", target: target, body: body("Everybody")}, "400 MalformedXML")
	r.want(call{method: "PUT", target: target, body: "<OwnershipControls/>"}, "400 MalformedXML")
	r.want(call{method: "PUT", target: target}, "400 MissingRequestBodyError")
	r.want(call{method: "DELETE", target: target}, "204")
	r.want(call{method: "GET", target: target}, "404 OwnershipControlsNotFoundError")
	r.want(call{method: "PUT", target: "/bkt?acl", header: with("x-amz-acl", "public-read")}, "400 AccessControlListNotSupported")
	r.want(call{method: "PUT", target: target, body: body(ownershipEnforced)}, "200")
	enforced()
	r.want(call{method: "PUT", target: target, body: body(ownershipEnforced), user: rigReader}, "403 AccessDenied")
}

// The presets are valid policies, recognised in whatever form.
func TestPresets(t *testing.T) {
	if doc, ok := PresetPolicy(PresetNone, "bkt"); doc != nil || !ok {
		t.Error("none")
	}
	if _, ok := PresetPolicy("custom", "bkt"); ok {
		t.Error("custom is no preset")
	}
	can := func(p *policy.Policy, action, resource string) bool {
		return policy.Decide(&policy.Request{Action: "s3:" + action, Resource: "arn:aws:s3:::" + resource,
			Principal: policy.Principal{Anonymous: true}}, &policy.Input{Bucket: p}) == policy.Allow
	}
	for _, name := range []string{PresetDownload, PresetUpload, PresetPublic} {
		doc, ok := PresetPolicy(name, "bkt")
		p, err := policy.ParseBucket(doc, "bkt")
		if !ok || err != nil || !p.IsPublic() {
			t.Fatalf("%s: %v", name, err)
		}
		down, up := name != PresetUpload, name != PresetDownload
		if can(p, "GetObject", "bkt/k") != down || can(p, "ListBucket", "bkt") != down || can(p, "PutObject", "bkt/k") != up ||
			can(p, "DeleteObject", "bkt/k") != up || can(p, "PutBucketPolicy", "bkt") || can(p, "GetObject", "other/k") {
			t.Errorf("%s grants something else", name)
		}
		if got := PolicyPreset(doc, "bkt"); got != name {
			t.Errorf("%s is taken for %s", name, got)
		}
		if got := PolicyPreset(doc, "other"); got != PresetCustom {
			t.Errorf("%s of another bucket is taken for %s", name, got)
		}
		var form map[string]any
		must(t, json.Unmarshal(doc, &form))
		form["Id"] = "x"
		list := form["Statement"].([]any)
		list[0], list[1] = list[1], list[0]
		s := list[0].(map[string]any)
		s["Sid"], s["Principal"], s["Resource"] = "s", "*", "arn:aws:s3:::bkt/*"
		other, err := json.Marshal(form)
		must(t, err)
		if got := PolicyPreset(other, "bkt"); got != name {
			t.Errorf("%s is taken for %s", other, got)
		}
		s["Condition"] = map[string]any{"Bool": map[string]any{"aws:SecureTransport": "true"}}
		other, err = json.Marshal(form)
		must(t, err)
		if got := PolicyPreset(other, "bkt"); got != PresetCustom {
			t.Errorf("%s is taken for %s", other, got)
		}
	}
	for _, doc := range []string{"x", "[]", `{"Statement":1}`, `{"Statement":[{"Effect":"Allow","Principal":{"CanonicalUser":"a"}}]}`, `{"Statement":{"Action":{}}}`} {
		if got := PolicyPreset([]byte(doc), "bkt"); got != PresetCustom {
			t.Errorf("%s is taken for %s", doc, got)
		}
	}
}
