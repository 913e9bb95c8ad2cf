package s3fast

import (
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/checksum"
)

// writeMode is a bucket of the matrix and what it chose.
type writeMode struct {
	bucket string
	uid    bool // etag-alg uid
	off    bool // integrity-mode disabled
}

// modeBuckets makes a bucket of every combination.
func (r *rig) modeBuckets() []writeMode {
	r.t.Helper()
	modes := []writeMode{{"md5-on", false, false}, {"uid-on", true, false}, {"md5-off", false, true}, {"uid-off", true, true}}
	for _, m := range modes {
		r.bucket(m.bucket)
		r.choose(m.bucket, m.uid, m.off)
	}
	return modes
}

func (r *rig) choose(bucket string, uid, off bool) {
	r.t.Helper()
	must(r.t, r.s.ChangeBucketPerformance(r.t.Context(), bucket, func(own *Performance) {
		own.ETagAlg, own.IntegrityMode = ETagMD5, IntegrityClient
		if uid {
			own.ETagAlg = ETagUID
		}
		if off {
			own.IntegrityMode = IntegrityDisabled
		}
	}))
}

var uidETag = regexp.MustCompile(`^"?[0-9a-f]{32}-[1-9][0-9]*"?$`)

// checkETag holds an ETag of content against the mode.
func (m writeMode) checkETag(t *testing.T, what, etag, content string) {
	t.Helper()
	if m.uid {
		if !uidETag.MatchString(etag) || strings.Contains(etag, strings.Trim(etagOf(content), `"`)) {
			t.Errorf("%s, %s: ETag %s", m.bucket, what, etag)
		}
	} else if strings.Trim(etag, `"`) != strings.Trim(etagOf(content), `"`) {
		t.Errorf("%s, %s: ETag %s, want the MD5", m.bucket, what, etag)
	}
}

// checkStored reads key back: whole, with etag, and with a checksum only where the
// mode has one.
func (r *rig) checkStored(t *testing.T, m writeMode, key, etag, content string) {
	t.Helper()
	target := "/" + m.bucket + "/" + key
	a := r.want(call{method: "GET", target: target, header: with("x-amz-checksum-mode", "ENABLED")}, "200")
	if a.body != content || a.header.Get("ETag") != etag {
		t.Errorf("%s: %d bytes, ETag %s, want %d, %s", target, len(a.body), a.header.Get("ETag"), len(content), etag)
	}
	a = r.raw("HEAD", r.head(call{method: "HEAD", target: target, header: with("x-amz-checksum-mode", "ENABLED")}))
	for name := range a.header {
		if m.off && strings.HasPrefix(name, "X-Amz-Checksum-") {
			t.Errorf("%s: %s", target, name)
		}
	}
	if !m.off && a.header.Get("x-amz-checksum-type") == "" {
		t.Errorf("%s: no checksum: %v", target, a.header)
	}
	a = r.want(call{method: "GET", target: target + "?attributes", header: with(attributesHeader, "ETag,Checksum,ObjectParts,ObjectSize")}, "200")
	if strings.Contains(a.body, "<Checksum") == m.off || elements(a.body, "ETag")[0] != strings.Trim(etag, `"`) {
		t.Errorf("%s: attributes %s", target, a.body)
	}
	r.want(call{method: "GET", target: target, header: with("If-None-Match", etag)}, "304")
	r.want(call{method: "GET", target: target, header: with("If-Match", etagOf("other"))}, "412 PreconditionFailed")
	a = r.want(call{method: "GET", target: "/" + m.bucket + "?list-type=2&prefix=" + key}, "200")
	equal(t, target, elements(a.body, "ETag"), []string{strings.ReplaceAll(etag, `"`, "&quot;")})
}

// trailing is content in the framing that SDKs send by default, with a CRC32 in the
// trailer.
func trailing(content, crc string) call {
	body := fmt.Sprintf("%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:%s\r\n\r\n", len(content), content, crc)
	return call{method: "PUT", body: body, payload: "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
		header: with("Content-Encoding", "aws-chunked", "x-amz-decoded-content-length", decimal(int64(len(content))),
			"x-amz-trailer", "x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm", "CRC32")}
}

func contentMD5(content string) string {
	sum := md5.Sum([]byte(content))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Every way to write one body, right and wrong claims, in every mode.
func TestWriteModes(t *testing.T) {
	r := newRig(t, nil)
	for _, m := range r.modeBuckets() {
		for i, content := range []string{"", "small", noise(300_000, 7)} {
			key, target := fmt.Sprint("k", i), fmt.Sprintf("/%s/k%d", m.bucket, i)
			wrong := "400 BadDigest"
			if m.off {
				wrong = "200"
			}
			seen := map[string]bool{}
			put := func(what string, c call, want string) {
				t.Helper()
				c.method, c.target = "PUT", target
				a := r.want(c, want)
				if want != "200" {
					return
				}
				etag := a.header.Get("ETag")
				m.checkETag(t, what, etag, content)
				if sum := a.header.Get("x-amz-checksum-type") != ""; sum == m.off {
					t.Errorf("%s: %s: %v", target, what, a.header)
				}
				if m.uid && seen[etag] {
					t.Errorf("%s: %s: ETag %s again", target, what, etag)
				}
				seen[etag] = true
				r.checkStored(t, m, key, etag, content)
			}
			put("plain", call{body: content}, "200")
			put("unsigned", call{body: content, payload: "UNSIGNED-PAYLOAD"}, "200")
			put("Content-MD5", call{body: content, header: with("Content-MD5", contentMD5(content))}, "200")
			put("wrong Content-MD5", call{body: content, header: with("Content-MD5", contentMD5("other"))}, wrong)
			put("checksum", call{body: content, header: with("x-amz-checksum-sha1", digest(checksum.SHA1, content))}, "200")
			put("wrong checksum", call{body: content, header: with("x-amz-checksum-sha1", digest(checksum.SHA1, "other"))}, wrong)
			if content != "" {
				put("trailer", trailing(content, digest(checksum.CRC32, content)), "200")
				put("wrong trailer", trailing(content, digest(checksum.CRC32, "other")), wrong)
				put("malformed trailer", trailing(content, "!"), "400 MalformedTrailerError")
				short := trailing(content, digest(checksum.CRC32, content))
				short.body = strings.TrimSuffix(short.body, "\r\n\r\n")[:len(short.body)/2]
				put("cut short", short, "400 IncompleteBody")
			}
			put("malformed checksum", call{body: content, header: with("x-amz-checksum-sha1", "!")}, "400 InvalidRequest")
			put("malformed Content-MD5", call{body: content, header: with("Content-MD5", "!")}, "400 InvalidDigest")
			put("another algorithm", call{body: content, header: with("x-amz-sdk-checksum-algorithm", "MD4")}, "400 InvalidRequest")
			// A signed payload is held to its signature in any mode.
			forged := call{method: "PUT", target: target, body: content}
			if a := r.raw("PUT", r.head(forged)+strings.Repeat("x", len(content))); content != "" && a.code() != "XAmzContentSHA256Mismatch" {
				t.Errorf("%s: forged payload: %s", target, a)
			}
			// Conditions know the ETag.
			etag := r.want(call{method: "GET", target: target}, "200").header.Get("ETag")
			put("If-Match another", call{body: content, header: with("If-Match", etagOf("other"))}, "412 PreconditionFailed")
			put("If-Match", call{body: content, header: with("If-Match", etag)}, "200")
		}
	}
}

func TestWriteModesOfForms(t *testing.T) {
	r := newRig(t, nil)
	const content = "from a form"
	for _, m := range r.modeBuckets() {
		for crc, want := range map[string]string{digest(checksum.CRC32, content): "204", digest(checksum.CRC32, "other"): "400 BadDigest", "!": "400 InvalidRequest"} {
			if m.off && want == "400 BadDigest" {
				want = "204"
			}
			fields := signedForm(rigUser, time.Now(), []any{map[string]string{"bucket": m.bucket}, []any{"starts-with", "$key", ""}, []any{"starts-with", "$x-amz-checksum-crc32", ""}},
				[2]string{"key", "k"}, [2]string{"x-amz-checksum-crc32", crc})
			c := postCall(form(fields, content))
			c.target = "/" + m.bucket
			if a := r.want(c, want); want == "204" {
				m.checkETag(t, "form", a.header.Get("ETag"), content)
				r.checkStored(t, m, "k", a.header.Get("ETag"), content)
			}
		}
	}
}

// A copy is made as its target's bucket has it, wherever it comes from.
func TestWriteModesOfCopies(t *testing.T) {
	r := newRig(t, nil)
	content := noise(200_000, 9)
	modes := r.modeBuckets()
	for _, from := range modes {
		r.want(call{method: "PUT", target: "/" + from.bucket + "/src", body: content}, "200")
	}
	for _, from := range modes {
		for _, to := range modes {
			for _, header := range [][]string{nil, {"x-amz-checksum-algorithm", "SHA256"}} {
				a := r.want(call{method: "PUT", target: "/" + to.bucket + "/copy", header: with(append(header, copySourceHeader, "/"+from.bucket+"/src")...)}, "200")
				etag := strings.ReplaceAll(elements(a.body, "ETag")[0], "&quot;", `"`)
				to.checkETag(t, "copy from "+from.bucket, etag, content)
				if strings.Contains(a.body, "<Checksum") == to.off {
					t.Errorf("%s to %s: %s", from.bucket, to.bucket, a.body)
				}
				r.checkStored(t, to, "copy", etag, content)
			}
			r.want(call{method: "PUT", target: "/" + to.bucket + "/copy", header: with(copySourceHeader, "/"+from.bucket+"/src", "x-amz-checksum-algorithm", "MD4")}, "400 InvalidRequest")
		}
	}
}

// Uploads in parts: the ETags that parts were given complete them, and what clients
// say of checksums counts or does not.
func TestWriteModesOfUploads(t *testing.T) {
	r := newRig(t, nil)
	first, last := noise(engine.MinPartSize, 3), noise(70_000, 4)
	for _, m := range r.modeBuckets() {
		target := "/" + m.bucket + "/mp"
		r.want(call{method: "PUT", target: "/" + m.bucket + "/src", body: first}, "200")
		a := r.want(call{method: "POST", target: target + "?uploads", header: with("x-amz-checksum-algorithm", "SHA256")}, "200")
		if a.header.Get("x-amz-checksum-algorithm") == "" != m.off {
			t.Errorf("%s: %v", m.bucket, a.header)
		}
		r.want(call{method: "POST", target: target + "?uploads", header: with("x-amz-checksum-algorithm", "MD4")}, "400 InvalidRequest")
		id := elements(a.body, "UploadId")[0]
		sum := checksum.SHA256.Header()
		a = r.want(call{method: "PUT", target: partURL(target, id, 1), header: with(copySourceHeader, "/"+m.bucket+"/src")}, "200")
		one := strings.ReplaceAll(elements(a.body, "ETag")[0], "&quot;", `"`)
		m.checkETag(t, "part copy", one, first)
		wrong := "400 BadDigest"
		if m.off {
			wrong = "200"
			r.want(call{method: "PUT", target: partURL(target, id, 2), body: last}, "200")
		} else {
			r.want(call{method: "PUT", target: partURL(target, id, 2), body: last}, "400 InvalidRequest")
		}
		r.want(call{method: "PUT", target: partURL(target, id, 2), body: last, header: with(sum, digest(checksum.SHA256, "other"))}, wrong)
		a = r.want(call{method: "PUT", target: partURL(target, id, 2), body: last, header: with(sum, digest(checksum.SHA256, last))}, "200")
		two := a.header.Get("ETag")
		m.checkETag(t, "part", two, last)
		if a.header.Get(sum) == "" != m.off {
			t.Errorf("%s: part: %v", m.bucket, a.header)
		}
		a = r.want(call{method: "GET", target: target + "?uploadId=" + id}, "200")
		if strings.Contains(a.body, "<Checksum") == m.off {
			t.Errorf("%s: ListParts: %s", m.bucket, a.body)
		}
		a = r.want(call{method: "GET", target: "/" + m.bucket + "?uploads"}, "200")
		if strings.Contains(a.body, "<Checksum") == m.off {
			t.Errorf("%s: ListMultipartUploads: %s", m.bucket, a.body)
		}
		// A client names the checksums of the parts, which it computed itself.
		doc := completion("1", one, "2", two)
		for _, p := range [][2]string{{one, first}, {two, last}} {
			tag := strings.ReplaceAll(p[0], `"`, "&quot;") + "</ETag>"
			doc = strings.Replace(doc, tag, tag+"<ChecksumSHA256>"+digest(checksum.SHA256, p[1])+"</ChecksumSHA256>", 1)
		}
		r.want(call{method: "POST", target: target + "?uploadId=" + id, body: strings.Replace(doc, digest(checksum.SHA256, last), "!", 1)}, "400 InvalidRequest")
		r.want(call{method: "POST", target: target + "?uploadId=" + id, body: completion("1", one, "2", etagOf("other"))}, "400 InvalidPart")
		r.want(call{method: "POST", target: target + "?uploadId=" + id, body: doc, header: with("x-amz-mp-object-size", "3")}, "400 InvalidRequest")
		a = r.want(call{method: "POST", target: target + "?uploadId=" + id, body: doc, header: with("x-amz-checksum-type", "COMPOSITE")}, "200")
		etag := strings.ReplaceAll(elements(a.body, "ETag")[0], "&quot;", `"`)
		if md5s := `"` + multipartTag(first, last) + `"`; m.uid && (!uidETag.MatchString(etag) || etag == md5s) || !m.uid && etag != md5s {
			t.Errorf("%s: ETag %s", m.bucket, etag)
		}
		if strings.Contains(a.body, "<Checksum") == m.off {
			t.Errorf("%s: completion: %s", m.bucket, a.body)
		}
		r.checkStored(t, m, "mp", etag, first+last)
		// The answer got lost.
		again := r.want(call{method: "POST", target: target + "?uploadId=" + id, body: doc}, "200")
		equal(t, m.bucket+" again", elements(again.body, "ETag"), elements(a.body, "ETag"))
	}
}

// What is chosen while an upload is under way.
func TestWriteModeChanges(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	first, last := noise(engine.MinPartSize, 5), "tail"
	crc := checksum.CRC32.Header()
	part := func(id string, n int, content string, header ...string) string {
		t.Helper()
		return r.want(call{method: "PUT", target: partURL("/bkt/k", id, n), body: content, header: with(header...)}, "200").header.Get("ETag")
	}
	finish := func(id string, want string, header []string, parts ...string) answer {
		t.Helper()
		return r.want(call{method: "POST", target: "/bkt/k?uploadId=" + id, body: completion(parts...), header: with(header...)}, want)
	}

	// An upload that declared a checksum keeps it.
	whole := digest(checksum.CRC32, first+last)
	id := r.begin("/bkt/k", "x-amz-checksum-algorithm", "CRC32", "x-amz-checksum-type", "FULL_OBJECT")
	one := part(id, 1, first, crc, digest(checksum.CRC32, first))
	r.choose("bkt", true, true)
	r.want(call{method: "PUT", target: partURL("/bkt/k", id, 2), body: last, header: with(crc, digest(checksum.CRC32, "other"))}, "400 BadDigest")
	two := part(id, 2, last)
	if one != etagOf(first) || !uidETag.MatchString(two) {
		t.Errorf("%s, %s", one, two)
	}
	finish(id, "400 BadDigest", []string{crc, digest(checksum.CRC32, "other")}, "1", one, "2", two)
	a := finish(id, "200", []string{crc, whole}, "1", one, "2", two)
	equal(t, "checksum", elements(a.body, "ChecksumCRC32"), []string{whole})
	if etag := strings.ReplaceAll(elements(a.body, "ETag")[0], "&quot;", `"`); !uidETag.MatchString(etag) {
		t.Errorf("ETag %s", etag)
	}

	// One that could not declare any has none, even if they count again at the end.
	id = r.begin("/bkt/k", "x-amz-checksum-algorithm", "CRC32")
	one = part(id, 1, first, crc, digest(checksum.CRC32, "other"))
	r.choose("bkt", false, false)
	two = part(id, 2, last, crc, digest(checksum.CRC32, last))
	if two != etagOf(last) {
		t.Error(two)
	}
	a = finish(id, "200", nil, "1", one, "2", two)
	equal(t, "no checksum", elements(a.body, "ChecksumType"), nil)
	if got := r.want(call{method: "GET", target: "/bkt/k"}, "200"); got.body != first+last {
		t.Error("content")
	}
	// What the client then claims of the whole cannot be shown to be right.
	id = r.begin("/bkt/k")
	r.choose("bkt", false, true)
	one = part(id, 1, last)
	r.choose("bkt", false, false)
	finish(id, "400 InvalidRequest", []string{crc, digest(checksum.CRC32, last)}, "1", one)
	finish(id, "200", nil, "1", one)
	// Objects that are there keep their ETags.
	r.put("/bkt/old", "old")
	r.choose("bkt", true, true)
	if got := r.want(call{method: "GET", target: "/bkt/old"}, "200").header.Get("ETag"); got != etagOf("old") {
		t.Error(got)
	}
}

// Encrypted objects and parts have such ETags too.
func TestWriteModesOfEncrypted(t *testing.T) {
	r := newSSERig(t, nil)
	r.choose("bkt", true, true)
	for name, m := range modes {
		content := noise(100_000, 3)
		etag := r.want(call{method: "PUT", target: "/bkt/k", body: content, header: with(m.header...)}, "200").header.Get("ETag")
		if !uidETag.MatchString(etag) {
			t.Errorf("%s: ETag %s", name, etag)
		}
		a := r.want(call{method: "GET", target: "/bkt/k", header: with(append([]string{"If-Match", etag, "x-amz-checksum-mode", "ENABLED"}, m.read...)...)}, "200")
		if a.body != content || a.header.Get("ETag") != etag || a.header.Get("x-amz-checksum-type") != "" {
			t.Errorf("%s: %d bytes, %v", name, len(a.body), a.header)
		}
		id := r.begin("/bkt/mp", m.header...)
		part := r.want(call{method: "PUT", target: partURL("/bkt/mp", id, 1), body: content, header: with(m.read...)}, "200").header.Get("ETag")
		if !uidETag.MatchString(part) {
			t.Errorf("%s: part's ETag %s", name, part)
		}
		r.want(call{method: "POST", target: "/bkt/mp?uploadId=" + id, body: completion("1", part)}, "200")
		if a := r.want(call{method: "GET", target: "/bkt/mp", header: with(m.read...)}, "200"); a.body != content || !uidETag.MatchString(a.header.Get("ETag")) {
			t.Errorf("%s: %d bytes, ETag %s", name, len(a.body), a.header.Get("ETag"))
		}
	}
}

// Requests that are no objects' writes are verified in any mode.
func TestDocumentsAreVerified(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.choose("bkt", true, true)
	r.put("/bkt/k", "x")
	doc := "<Delete><Object><Key>k</Key></Object></Delete>"
	r.want(call{method: "POST", target: "/bkt?delete", body: doc, header: with("Content-MD5", contentMD5("other"))}, "400 BadDigest")
	r.want(call{method: "POST", target: "/bkt?delete", body: doc, header: with("x-amz-checksum-crc32", digest(checksum.CRC32, "other"))}, "400 BadDigest")
	r.want(call{method: "GET", target: "/bkt/k"}, "200")
	r.want(call{method: "POST", target: "/bkt?delete", body: doc, header: with("Content-MD5", contentMD5(doc))}, "200")
}

// What a bucket left open its cluster says, for its type.
func TestClusterPerformance(t *testing.T) {
	var cluster atomic.Pointer[Cluster]
	cluster.Store(&Cluster{})
	r := newRig(t, func(cfg *Config) { cfg.Cluster = cluster.Load })
	ctx := t.Context()
	r.bucket("bkt")
	r.bucket("fast")
	must(t, r.s.SetBucketType(ctx, "fast", TypePerformance))
	etags := func(plain, fast bool) {
		t.Helper()
		writeMode{"bkt", plain, false}.checkETag(t, "put", r.want(call{method: "PUT", target: "/bkt/k", body: "x"}, "200").header.Get("ETag"), "x")
		writeMode{"fast", fast, false}.checkETag(t, "put", r.want(call{method: "PUT", target: "/fast/k", body: "x"}, "200").header.Get("ETag"), "x")
	}
	etags(false, true)
	cluster.Store(&Cluster{PerformanceBuckets: Performance{ETagAlg: ETagMD5}})
	etags(false, false)
	cluster.Store(&Cluster{StandardBuckets: Performance{ETagAlg: ETagUID}})
	etags(true, true)
	r.choose("bkt", false, false)
	etags(false, true)
	must(t, r.s.SetBucketType(ctx, "fast", TypeStandard))
	cluster.Store(&Cluster{})
	etags(false, false)
	if err := r.s.SetBucketType(ctx, "fast", "QUICK"); !errors.Is(err, ErrBadPerformance) {
		t.Error(err)
	}
	if err := r.s.SetBucketType(ctx, "gone", TypePerformance); engine.KindOf(err) != engine.NoBucket {
		t.Error(err)
	}
}

// The document of a bucket's choices: made by the first, gone with the last, and no
// matter of access.
func TestPerformanceDocument(t *testing.T) {
	r := newRig(t, nil)
	ctx := t.Context()
	r.bucket("bkt")
	docs := r.engine.Docs("bkt")
	text := func() string {
		doc, err := docs.Get(ctx, docPerformance)
		if engine.KindOf(err) == engine.NoDoc {
			return ""
		}
		must(t, err)
		must(t, CheckSetting("bkt", docPerformance, doc.Value))
		return string(doc.Value)
	}
	change := func(own Performance) error {
		return r.s.ChangeBucketPerformance(ctx, "bkt", func(p *Performance) { *p = own })
	}
	must(t, change(Performance{}))
	equal(t, "none", []string{text()}, []string{""})
	must(t, change(Performance{ETagAlg: ETagUID}))
	equal(t, "one", []string{text()}, []string{`{"etag_alg":"uid"}`})
	must(t, r.s.SetBucketType(ctx, "bkt", TypePerformance))
	equal(t, "type", []string{text()}, []string{`{"type":"PERFORMANCE","etag_alg":"uid"}`})
	must(t, change(Performance{IntegrityMode: IntegrityDisabled, Sorting: ListSorted}))
	equal(t, "others", []string{text()}, []string{`{"type":"PERFORMANCE","integrity_mode":"disabled","sorting":"sorted"}`})
	for _, bad := range []Performance{{ETagAlg: "MD5"}, {IntegrityMode: "on"}, {Sorting: "no"}} {
		if err := change(bad); !errors.Is(err, ErrBadPerformance) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	must(t, change(Performance{}))
	must(t, r.s.SetBucketType(ctx, "bkt", TypeStandard))
	equal(t, "gone", []string{text()}, []string{""})

	for _, bad := range []string{"", "{", `{"etag_alg":"md6"}`, `{"type":"STANDARD"}`, `{"colour":"red"}`, `{"sorting":"x"}`, `{} x`} {
		if err := CheckSetting("bkt", docPerformance, []byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
		_, err := docs.Put(ctx, docPerformance, []byte(bad), -1)
		must(t, err)
		b, err := r.engine.Bucket(ctx, "bkt")
		must(t, err)
		r.s.settings.forget(b.ID)
		if etag := r.want(call{method: "PUT", target: "/bkt/k", body: "x"}, "200").header.Get("ETag"); etag != etagOf("x") {
			t.Errorf("%q: ETag %s", bad, etag)
		}
		r.want(call{method: "PUT", target: "/bkt/k", body: "x", header: with("Content-MD5", contentMD5("y"))}, "400 BadDigest")
	}
	must(t, change(Performance{ETagAlg: ETagUID}))
	equal(t, "replaced", []string{text()}, []string{`{"etag_alg":"uid"}`})
}

// Changes at the same time do not undo each other.
func TestPerformanceRace(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	var changing sync.WaitGroup
	for _, set := range []func(own *Performance, even bool){
		func(own *Performance, even bool) { own.ETagAlg = map[bool]string{true: ETagUID}[even] },
		func(own *Performance, even bool) { own.IntegrityMode = map[bool]string{true: IntegrityDisabled}[even] },
		func(own *Performance, even bool) { own.Sorting = map[bool]string{true: ListUnsorted}[even] },
	} {
		changing.Go(func() {
			for i := range 31 {
				if err := r.s.ChangeBucketPerformance(t.Context(), "bkt", func(own *Performance) { set(own, i%2 == 0) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	changing.Wait()
	p, err := r.s.BucketPerformance(t.Context(), "bkt")
	if want := (Performance{ETagAlg: ETagUID, IntegrityMode: IntegrityDisabled, Sorting: ListUnsorted}); err != nil || p.Own != want {
		t.Errorf("%+v, %v", p, err)
	}
}

// FuzzPerformanceDocument: whatever is stored, something of each choice is in force.
func FuzzPerformanceDocument(f *testing.F) {
	f.Add([]byte(`{"type":"PERFORMANCE","etag_alg":"uid","integrity_mode":"disabled","sorting":"sorted"}`))
	f.Add([]byte(`{"Type":"PERFORMANCE","etag_alg":null}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		p, err := decodePerformance(doc)
		now := p.inForce(nil)
		if now.Check() != nil || now.ETagAlg == "" || now.IntegrityMode == "" || now.Sorting == "" {
			t.Errorf("%+v", now)
		}
		if err != nil && now != DefaultPerformance(TypeStandard) {
			t.Errorf("%v: %+v", err, now)
		}
	})
}
