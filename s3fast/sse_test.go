package s3fast

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/engine/seal/keyring"
	"github.com/sluicehq/sluice/engine/seal/kms"
)

// flakyKMS fails as long as err is set.
type flakyKMS struct {
	kms.KMS
	err atomic.Pointer[error]
}

func (f *flakyKMS) fail(err error) { f.err.Store(&err) }

func (f *flakyKMS) Unwrap(ctx context.Context, name string, wrapped, aad []byte) ([]byte, error) {
	if err := f.err.Load(); err != nil && *err != nil {
		return nil, *err
	}
	return f.KMS.Unwrap(ctx, name, wrapped, aad)
}

// sseRig is a rig with a key file that has the keys "main" and "second".
type sseRig struct {
	*rig
	kms     *flakyKMS
	backend string
}

func newSSERig(t testing.TB, change func(*Config)) *sseRig {
	t.Helper()
	local, err := kms.OpenLocal(filepath.Join(t.TempDir(), "keys"), "main", true)
	must(t, err)
	must(t, local.Create(t.Context(), "second"))
	s := &sseRig{kms: &flakyKMS{KMS: local}, backend: keyring.NewBackendID()}
	s.rig = newRig(t, func(c *Config) {
		c.Keys, c.PlainKeys = s.ring(t, c.Engine), true
		if change != nil {
			change(c)
		}
	})
	s.bucket("bkt")
	return s
}

// ring opens the ring that the cluster's configuration holds.
func (s *sseRig) ring(t testing.TB, e *engine.Engine) *keyring.Ring {
	t.Helper()
	ring, err := keyring.Open(t.Context(), keyring.Config{
		Docs: rigDocs{e.Docs("")}, Cluster: "test", Current: keyring.Backend{ID: s.backend, KMS: s.kms},
	})
	must(t, err)
	return ring
}

// customer returns the headers of SSE-C for a key made of one letter.
func customer(letter string) []string { return customerAs(customerPrefix, letter) }

func customerAs(prefix, letter string) []string {
	key := strings.Repeat(letter, 32)
	sum := md5.Sum([]byte(key))
	return []string{
		prefix + "algorithm", "AES256",
		prefix + "key", base64.StdEncoding.EncodeToString([]byte(key)),
		prefix + "key-MD5", base64.StdEncoding.EncodeToString(sum[:]),
	}
}

// context is an encryption context as clients send it.
const testContext = "eyJwcm9qZWN0Ijoic2x1aWNlIn0=" // {"project":"sluice"}

// modes are the ways to encrypt and what the answers say of each.
var modes = map[string]struct {
	header []string // of a write
	read   []string // of a read
	told   map[string]string
}{
	"none":   {},
	"SSE-S3": {header: []string{sseHeader, "AES256"}, told: map[string]string{sseHeader: "AES256"}},
	"SSE-KMS": {
		header: []string{sseHeader, "aws:kms"},
		told:   map[string]string{sseHeader: "aws:kms", sseKeyIDHeader: "main"},
	},
	"SSE-KMS with all": {
		header: []string{sseHeader, "aws:kms", sseKeyIDHeader, "arn:aws:kms:us-east-1:1:key/second",
			sseContextHeader, testContext, sseBucketKeyHeader, "true"},
		told: map[string]string{sseHeader: "aws:kms", sseKeyIDHeader: "arn:aws:kms:us-east-1:1:key/second", sseBucketKeyHeader: "true"},
	},
	"SSE-C": {
		header: customer("c"), read: customer("c"),
		told: map[string]string{customerPrefix + "algorithm": "AES256", customerPrefix + "key-MD5": customer("c")[5]},
	},
}

// wantTold checks the encryption headers of an answer.
func wantTold(t *testing.T, what string, a answer, want map[string]string) {
	t.Helper()
	for name := range a.header {
		lower := strings.ToLower(name)
		if !strings.HasPrefix(lower, sseHeader) || lower == sseContextHeader {
			continue
		}
		known := slices.ContainsFunc([]string{sseHeader, sseKeyIDHeader, sseBucketKeyHeader, customerPrefix + "algorithm", customerPrefix + "key-md5"},
			func(s string) bool { return s == lower })
		if !known {
			t.Errorf("%s: header %s: %s", what, name, a.header.Get(name))
		}
	}
	for _, name := range []string{sseHeader, sseKeyIDHeader, sseBucketKeyHeader, customerPrefix + "algorithm", customerPrefix + "key-MD5"} {
		if got := a.header.Get(name); got != want[name] {
			t.Errorf("%s: %s is %q, want %q", what, name, got, want[name])
		}
	}
}

// Every mode: write, read, ranges, HEAD, attributes, and what is stored.
func TestEncryption(t *testing.T) {
	r := newSSERig(t, nil)
	data := noise(150_000, 1)
	small := "a small secret that is kept with the metadata"
	for name, m := range modes {
		for _, body := range []string{small, data, ""} {
			key := fmt.Sprintf("/bkt/%s-%d", strings.ReplaceAll(name, " ", "-"), len(body))
			what := fmt.Sprintf("%s, %d bytes", name, len(body))
			a := r.want(call{method: "PUT", target: key, body: body, header: with(m.header...)}, "200")
			wantTold(t, what+": PUT", a, m.told)
			if got, want := a.header.Get(sseContextHeader), ""; name == "SSE-KMS with all" && got != testContext || name != "SSE-KMS with all" && got != want {
				t.Errorf("%s: context %q", what, got)
			}
			tag := a.header.Get("ETag")
			digest := name == "none" || name == "SSE-S3"
			if digest != (tag == etagOf(body)) || len(tag) != 34 {
				t.Errorf("%s: ETag %s, MD5 %s", what, tag, etagOf(body))
			}
			a = r.want(call{method: "GET", target: key, header: with(m.read...)}, "200")
			if a.body != body || a.header.Get("ETag") != tag || a.header.Get(sseContextHeader) != "" {
				t.Errorf("%s: %d bytes came back, ETag %s", what, len(a.body), a.header.Get("ETag"))
			}
			wantTold(t, what+": GET", a, m.told)
			a = r.want(call{method: "HEAD", target: key, header: with(m.read...)}, "200")
			wantTold(t, what+": HEAD", a, m.told)
			if a.header.Get("Content-Length") != fmt.Sprint(len(body)) {
				t.Errorf("%s: HEAD tells %s bytes", what, a.header.Get("Content-Length"))
			}
			a = r.want(call{method: "GET", target: key + "?attributes", header: with(append([]string{attributesHeader, "ETag,ObjectSize"}, m.read...)...)}, "200")
			equal(t, what+": size", elements(a.body, "ObjectSize"), []string{fmt.Sprint(len(body))})
			for _, rg := range [][2]int{{0, 0}, {65_519, 65_520}, {65_520, 131_040}, {100_000, 149_999}, {3, 40}} {
				if rg[1] >= len(body) {
					continue
				}
				a := r.want(call{method: "GET", target: key, header: with(append(m.read, "Range", fmt.Sprintf("bytes=%d-%d", rg[0], rg[1]))...)}, "206")
				if a.body != body[rg[0]:rg[1]+1] {
					t.Errorf("%s: range %v: %d bytes differ", what, rg, len(a.body))
				}
			}
			r.wantStored(what, key, body, name != "none")
		}
	}
	// A listing tells sizes as clients know them.
	a := r.want(call{method: "GET", target: "/bkt?prefix=SSE-C-150"}, "200")
	equal(t, "size listed", elements(a.body, "Size"), []string{"150000"})
}

// wantStored checks whether the object's record says that it is encrypted, and
// that its data cannot be had without a key if so.
func (s *sseRig) wantStored(what, target, body string, encrypted bool) {
	s.t.Helper()
	o, err := s.engine.Get(s.t.Context(), "bkt", strings.TrimPrefix(target, "/bkt/"))
	must(s.t, err)
	defer o.Close()
	if (o.Info.Seal != nil) != encrypted {
		s.t.Fatalf("%s: seal %+v", what, o.Info.Seal)
	}
	if len(body) == 0 {
		return
	}
	b, err := o.Range(s.t.Context(), 0, 1)
	if err == nil {
		b.Close()
	}
	if encrypted != (engine.KindOf(err) == engine.Locked) {
		s.t.Errorf("%s: read without a key: %v", what, err)
	}
}

// What AWS refuses, with its codes.
func TestEncryptionRefusals(t *testing.T) {
	r := newSSERig(t, nil)
	edit := func(list []string, name, value string) []string {
		list = slices.Clone(list)
		for i := 0; i < len(list); i += 2 {
			if strings.EqualFold(list[i], name) {
				if list[i+1] = value; value == "" {
					return slices.Delete(list, i, i+2)
				}
			}
		}
		return list
	}
	c := customer("c")
	kmsWith := func(more ...string) []string { return append([]string{sseHeader, "aws:kms"}, more...) }
	for name, v := range map[string]struct {
		header []string
		want   string
	}{
		"unknown method":       {[]string{sseHeader, "aes256"}, "400 InvalidArgument"},
		"empty method":         {[]string{sseHeader, ""}, "400 InvalidArgument"},
		"two layers":           {[]string{sseHeader, "aws:kms:dsse"}, "501 NotImplemented"},
		"key without KMS":      {[]string{sseHeader, "AES256", sseKeyIDHeader, "main"}, "400 InvalidArgument"},
		"key alone":            {[]string{sseKeyIDHeader, "main"}, "400 InvalidArgument"},
		"context without KMS":  {[]string{sseContextHeader, testContext}, "400 InvalidArgument"},
		"context not base64":   {kmsWith(sseContextHeader, "{}"), "400 InvalidArgument"},
		"context not JSON":     {kmsWith(sseContextHeader, "eA=="), "400 InvalidArgument"},
		"context no strings":   {kmsWith(sseContextHeader, base64.StdEncoding.EncodeToString([]byte(`{"a":1}`))), "400 InvalidArgument"},
		"context null":         {kmsWith(sseContextHeader, base64.StdEncoding.EncodeToString([]byte(`null`))), "400 InvalidArgument"},
		"context too long":     {kmsWith(sseContextHeader, base64.StdEncoding.EncodeToString([]byte(`{"a":"`+strings.Repeat("b", 7000)+`"}`))), "400 InvalidArgument"},
		"bucket key":           {kmsWith(sseBucketKeyHeader, "maybe"), "400 InvalidArgument"},
		"no such key":          {kmsWith(sseKeyIDHeader, "nobody's"), "400 KMS.NotFoundException"},
		"bad key name":         {kmsWith(sseKeyIDHeader, "a b/../c"), "400 KMS.NotFoundException"},
		"long key name":        {kmsWith(sseKeyIDHeader, strings.Repeat("k", maxKeyID+1)), "400 InvalidArgument"},
		"two methods":          {append(slices.Clone(c), sseHeader, "AES256"), "400 InvalidArgument"},
		"SSE-C and KMS key":    {append(slices.Clone(c), sseKeyIDHeader, "main"), "400 InvalidArgument"},
		"SSE-C algorithm":      {edit(c, customerPrefix+"algorithm", "AES128"), "400 InvalidEncryptionAlgorithmError"},
		"SSE-C no algorithm":   {edit(c, customerPrefix+"algorithm", ""), "400 InvalidArgument"},
		"SSE-C no key":         {edit(c, customerPrefix+"key", ""), "400 InvalidArgument"},
		"SSE-C no MD5":         {edit(c, customerPrefix+"key-MD5", ""), "400 InvalidArgument"},
		"SSE-C wrong MD5":      {edit(c, customerPrefix+"key-MD5", customer("d")[5]), "400 InvalidArgument"},
		"SSE-C short key":      {edit(c, customerPrefix+"key", "c2hvcnQ="), "400 InvalidArgument"},
		"SSE-C key not base64": {edit(c, customerPrefix+"key", "!"), "400 InvalidArgument"},
		"SSE-C MD5 not base64": {edit(c, customerPrefix+"key-MD5", "!"), "400 InvalidArgument"},
		"header of tomorrow":   {[]string{sseHeader + "-new", "1"}, "501 NotImplemented"},
	} {
		for _, target := range []call{{method: "PUT", target: "/bkt/k", body: "x"}, {method: "POST", target: "/bkt/k?uploads"}} {
			target.header = with(v.header...)
			a := r.do(target)
			if a.String() != v.want {
				t.Errorf("%s, %s: %s, want %s\n%s", name, target.method, a, v.want, a.body)
			}
			if strings.Contains(a.body, c[3]) || strings.Contains(a.body, strings.Repeat("c", 32)) {
				t.Errorf("%s: the answer tells the key: %s", name, a.body)
			}
		}
	}
	r.want(call{method: "GET", target: "/bkt/k"}, "404 NoSuchKey")
}

// Reads of SSE-C, and what does not belong on a read.
func TestEncryptionReads(t *testing.T) {
	r := newSSERig(t, nil)
	r.want(call{method: "PUT", target: "/bkt/c", body: "secret", header: with(customer("c")...)}, "200")
	r.want(call{method: "PUT", target: "/bkt/s3", body: "secret", header: with(sseHeader, "AES256")}, "200")
	r.want(call{method: "PUT", target: "/bkt/plain", body: "secret"}, "200")
	attributes := append([]string{attributesHeader, "ETag"}, customer("d")...)
	for name, v := range map[string]struct {
		c    call
		want string
	}{
		"no key":                {call{method: "GET", target: "/bkt/c"}, "400 InvalidRequest"},
		"wrong key":             {call{method: "GET", target: "/bkt/c", header: with(customer("d")...)}, "403 AccessDenied"},
		"HEAD without":          {call{method: "HEAD", target: "/bkt/c"}, "400"},
		"HEAD with a wrong one": {call{method: "HEAD", target: "/bkt/c", header: with(customer("d")...)}, "403"},
		"HEAD part":             {call{method: "HEAD", target: "/bkt/c?partNumber=1"}, "400"},
		"attributes without":    {call{method: "GET", target: "/bkt/c?attributes", header: with(attributesHeader, "ETag")}, "400 InvalidRequest"},
		"attributes, wrong key": {call{method: "GET", target: "/bkt/c?attributes", header: with(attributes...)}, "403 AccessDenied"},
		"key for SSE-S3":        {call{method: "GET", target: "/bkt/s3", header: with(customer("c")...)}, "400 InvalidRequest"},
		"key for plain":         {call{method: "GET", target: "/bkt/plain", header: with(customer("c")...)}, "400 InvalidRequest"},
		"key for plain HEAD":    {call{method: "HEAD", target: "/bkt/plain", header: with(customer("c")...)}, "400"},
		"method on GET":         {call{method: "GET", target: "/bkt/s3", header: with(sseHeader, "AES256")}, "400 InvalidArgument"},
		"method on HEAD":        {call{method: "HEAD", target: "/bkt/s3", header: with(sseHeader, "AES256")}, "400"},
		"condition, no key":     {call{method: "GET", target: "/bkt/c", header: with("If-None-Match", "*")}, "400 InvalidRequest"},
		"right key, condition":  {call{method: "GET", target: "/bkt/c", header: with(append(customer("c"), "If-None-Match", "*")...)}, "304"},
	} {
		if a := r.do(v.c); strings.TrimSpace(a.String()) != v.want {
			t.Errorf("%s: %s, want %s\n%s", name, a, v.want, a.body)
		}
	}
	// A delete needs no key.
	r.want(call{method: "DELETE", target: "/bkt/c"}, "204")
}

// S3 takes customers' keys over TLS only.
func TestCustomerKeysNeedTLS(t *testing.T) {
	r := newSSERig(t, func(c *Config) { c.PlainKeys = false })
	r.want(call{method: "PUT", target: "/bkt/k", body: "x", header: with(customer("c")...)}, "400 InvalidRequest")
	nc := r.dialTLS()
	br := newReader(nc)
	for _, c := range []call{
		{method: "PUT", target: "/bkt/k", body: "over TLS", header: with(customer("c")...)},
		{method: "GET", target: "/bkt/k", header: with(customer("c")...)},
	} {
		_, err := nc.Write([]byte(r.head(c) + c.body))
		must(t, err)
		a := r.read(br, c.method)
		if a.status != 200 || c.method == "GET" && a.body != "over TLS" {
			t.Fatalf("%s: %s %s", c.method, a, a.body)
		}
	}
	r.want(call{method: "GET", target: "/bkt/k", header: with(customer("c")...)}, "400 InvalidRequest")
}

// Parts of an encrypted upload, by each mode.
func TestEncryptedMultipart(t *testing.T) {
	r := newSSERig(t, nil)
	first, last := noise(engine.MinPartSize, 1), noise(100<<10, 2)
	r.want(call{method: "PUT", target: "/bkt/source", body: last, header: with(customer("s")...)}, "200")
	for name, m := range modes {
		target := "/bkt/" + strings.ReplaceAll(name, " ", "-")
		a := r.want(call{method: "POST", target: target + "?uploads", header: with(m.header...)}, "200")
		wantTold(t, name+": create", a, m.told)
		id := elements(a.body, "UploadId")[0]
		a = r.want(call{method: "PUT", target: partURL(target, id, 1), body: first, header: with(m.read...)}, "200")
		wantTold(t, name+": part", a, m.told)
		tag1 := a.header.Get("ETag")
		if digest := name == "none" || name == "SSE-S3"; digest != (tag1 == etagOf(first)) {
			t.Errorf("%s: ETag of a part is %s", name, tag1)
		}
		copied := append(append([]string{copySourceHeader, "/bkt/source"}, customerAs(sourceCustomerPrefix, "s")...), m.read...)
		a = r.want(call{method: "PUT", target: partURL(target, id, 5), header: with(copied...)}, "200")
		wantTold(t, name+": copied part", a, m.told)
		tag2 := elements(a.body, "ETag")[0]
		a = r.want(call{method: "POST", target: target + "?uploadId=" + id, body: completion("1", tag1, "5", strings.ReplaceAll(tag2, "&quot;", `"`))}, "200")
		told := m.told
		if name == "SSE-C" {
			told = nil
		}
		wantTold(t, name+": complete", a, told)
		all := first + last
		a = r.want(call{method: "GET", target: target, header: with(m.read...)}, "200")
		if a.body != all || !strings.HasSuffix(a.header.Get("ETag"), `-2"`) {
			t.Errorf("%s: %d bytes, ETag %s", name, len(a.body), a.header.Get("ETag"))
		}
		wantTold(t, name+": GET", a, m.told)
		lo, hi := len(first)-70_000, len(first)+70_000
		a = r.want(call{method: "GET", target: target, header: with(append(m.read, "Range", fmt.Sprintf("bytes=%d-%d", lo, hi))...)}, "206")
		if a.body != all[lo:hi+1] {
			t.Errorf("%s: range over the parts' boundary differs", name)
		}
		a = r.want(call{method: "GET", target: target + "?partNumber=2", header: with(m.read...)}, "206")
		if a.body != last {
			t.Errorf("%s: part 2 has %d bytes", name, len(a.body))
		}
		r.wantStored(name, target, all, name != "none")
	}
}

func TestEncryptedPartRefusals(t *testing.T) {
	r := newSSERig(t, nil)
	c := r.begin("/bkt/c", customer("c")...)
	s3 := r.begin("/bkt/s3", sseHeader, "AES256")
	plain := r.begin("/bkt/plain")
	r.want(call{method: "PUT", target: "/bkt/source", body: "x", header: with(customer("s")...)}, "200")
	for name, v := range map[string]struct {
		target string
		header []string
		want   string
	}{
		"no key":             {partURL("/bkt/c", c, 1), nil, "400 InvalidRequest"},
		"another key":        {partURL("/bkt/c", c, 1), customer("d"), "400 InvalidRequest"},
		"key for SSE-S3":     {partURL("/bkt/s3", s3, 1), customer("c"), "400 InvalidRequest"},
		"key for none":       {partURL("/bkt/plain", plain, 1), customer("c"), "400 InvalidRequest"},
		"method":             {partURL("/bkt/s3", s3, 1), []string{sseHeader, "AES256"}, "400 InvalidArgument"},
		"source without key": {partURL("/bkt/plain", plain, 1), []string{copySourceHeader, "bkt/source"}, "400 InvalidRequest"},
		"source, wrong key": {partURL("/bkt/plain", plain, 1), append([]string{copySourceHeader, "bkt/source"}, customerAs(sourceCustomerPrefix, "x")...),
			"403 AccessDenied"},
	} {
		if a := r.do(call{method: "PUT", target: v.target, body: "", header: with(v.header...)}); a.String() != v.want {
			t.Errorf("%s: %s, want %s\n%s", name, a, v.want, a.body)
		}
	}
}

// A completion is held against the upload's key where S3 does.
func TestEncryptedCompletionRefusals(t *testing.T) {
	r := newSSERig(t, nil)
	finish := func(target, id, tag string, header []string) answer {
		return r.do(call{method: "POST", target: target + "?uploadId=" + id, body: completion("1", tag), header: with(header...)})
	}
	checked := append(customer("c"), "x-amz-checksum-algorithm", "CRC64NVME")
	part := append(customer("c"), "x-amz-checksum-crc64nvme", "Lb1nAmRU5LE=") // of "x"
	for name, v := range map[string]struct {
		begin, part, end []string
		want             string
	}{
		"no key":               {customer("c"), customer("c"), nil, "200 "},
		"the key":              {customer("c"), customer("c"), customer("c"), "200 "},
		"another key":          {customer("c"), customer("c"), customer("d"), "400 InvalidRequest"},
		"no key, but checksum": {checked, part, nil, "400 InvalidRequest"},
		"key, and checksum":    {checked, part, customer("c"), "200 "},
		"key for SSE-S3":       {[]string{sseHeader, "AES256"}, nil, customer("c"), "400 InvalidRequest"},
		"key for none":         {nil, nil, customer("c"), "400 InvalidRequest"},
	} {
		id := r.begin("/bkt/k", v.begin...)
		tag := r.want(call{method: "PUT", target: partURL("/bkt/k", id, 1), body: "x", header: with(v.part...)}, "200").header.Get("ETag")
		if a := finish("/bkt/k", id, tag, v.end); a.String() != v.want {
			t.Errorf("%s: %s, want %s\n%s", name, a, v.want, a.body)
		}
	}
}

// Copies from every mode to every mode.
func TestEncryptedCopies(t *testing.T) {
	r := newSSERig(t, nil)
	body := noise(200_000, 3)
	for from, f := range modes {
		source := "/bkt/from-" + strings.ReplaceAll(from, " ", "-")
		r.want(call{method: "PUT", target: source, body: body, header: with(append(f.header, "x-amz-meta-m", from, "Content-Type", "a/b")...)}, "200")
		for to, m := range modes {
			what := from + " to " + to
			target := "/bkt/" + strings.ReplaceAll(what, " ", "-")
			header := append([]string{copySourceHeader, source}, m.header...)
			if from == "SSE-C" {
				header = append(header, customerAs(sourceCustomerPrefix, "c")...)
			}
			a := r.want(call{method: "PUT", target: target, header: with(header...)}, "200")
			wantTold(t, what, a, m.told)
			a = r.want(call{method: "GET", target: target, header: with(m.read...)}, "200")
			if a.body != body || a.header.Get("x-amz-meta-m") != from || a.header.Get("Content-Type") != "a/b" {
				t.Errorf("%s: %d bytes, %v", what, len(a.body), a.header)
			}
			wantTold(t, what+": GET", a, m.told)
			r.wantStored(what, target, body, to != "none")
		}
	}
	source := []string{copySourceHeader, "/bkt/from-SSE-C"}
	r.want(call{method: "PUT", target: "/bkt/x", header: with(source...)}, "400 InvalidRequest")
	r.want(call{method: "PUT", target: "/bkt/x", header: with(append(source, customerAs(sourceCustomerPrefix, "d")...)...)}, "403 AccessDenied")
	r.want(call{method: "PUT", target: "/bkt/x", header: with(append([]string{copySourceHeader, "/bkt/from-none"}, customerAs(sourceCustomerPrefix, "d")...)...)}, "400 InvalidRequest")
	// Onto itself: refused, unless something changes, and encryption is something.
	self := []string{copySourceHeader, "/bkt/from-none"}
	r.want(call{method: "PUT", target: "/bkt/from-none", header: with(self...)}, "400 InvalidRequest")
	r.want(call{method: "PUT", target: "/bkt/from-none", header: with(append(self, sseHeader, "AES256")...)}, "200")
	if a := r.want(call{method: "GET", target: "/bkt/from-none"}, "200"); a.body != body || a.header.Get(sseHeader) != "AES256" {
		t.Errorf("encrypted onto itself: %v", a.header)
	}
}

// The bucket's rule, the cluster's, and what clients see of them.
func TestDefaultEncryption(t *testing.T) {
	var cluster atomic.Pointer[Cluster]
	cluster.Store(&Cluster{Name: "default"})
	r := newSSERig(t, func(c *Config) { c.Cluster = cluster.Load })
	stored := func(header ...string) string {
		t.Helper()
		a := r.want(call{method: "PUT", target: "/bkt/k", body: "x", header: with(header...)}, "200")
		id := elements(r.want(call{method: "POST", target: "/bkt/m?uploads", header: with(header...)}, "200").body, "UploadId")[0]
		up := r.want(call{method: "PUT", target: partURL("/bkt/m", id, 1), body: "x"}, "200")
		b := r.want(call{method: "PUT", target: "/bkt/copy", header: with(append([]string{copySourceHeader, "/bkt/k"}, header...)...)}, "200")
		for _, other := range []answer{up, b} {
			if other.header.Get(sseHeader) != a.header.Get(sseHeader) || other.header.Get(sseKeyIDHeader) != a.header.Get(sseKeyIDHeader) {
				t.Errorf("PUT and others differ: %v, %v", a.header, other.header)
			}
		}
		return strings.TrimSpace(a.header.Get(sseHeader) + " " + a.header.Get(sseKeyIDHeader) + " " + a.header.Get(sseBucketKeyHeader))
	}
	rule := func(text string) string {
		return "<ServerSideEncryptionConfiguration><Rule>" + text + "</Rule></ServerSideEncryptionConfiguration>"
	}
	apply := func(text string) string {
		return "<ApplyServerSideEncryptionByDefault>" + text + "</ApplyServerSideEncryptionByDefault>"
	}
	const target = "/bkt?encryption"
	r.want(call{method: "GET", target: target}, "404 ServerSideEncryptionConfigurationNotFoundError")
	equal(t, "no default", []string{stored()}, []string{""})

	cluster.Store(&Cluster{Name: "default", Encrypted: true})
	a := r.want(call{method: "GET", target: target}, "200")
	equal(t, "rule", elements(a.body, "SSEAlgorithm"), []string{"AES256"})
	equal(t, "cluster", []string{stored()}, []string{"AES256"})

	kmsRule := rule(apply("<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>alias/second</KMSMasterKeyID>") + "<BucketKeyEnabled>true</BucketKeyEnabled>")
	r.want(call{method: "PUT", target: target, body: kmsRule}, "200")
	a = r.want(call{method: "GET", target: target}, "200")
	equal(t, "key", elements(a.body, "KMSMasterKeyID"), []string{"alias/second"})
	equal(t, "bucket key", elements(a.body, "BucketKeyEnabled"), []string{"true"})
	equal(t, "bucket", []string{stored()}, []string{"aws:kms alias/second true"})
	equal(t, "request", []string{stored(sseHeader, "AES256")}, []string{"AES256"})
	if a := r.want(call{method: "GET", target: "/bkt/k"}, "200"); a.body != "x" {
		t.Errorf("read %q", a.body)
	}
	r.want(call{method: "PUT", target: target, body: rule(apply("<SSEAlgorithm>AES256</SSEAlgorithm>"))}, "200")
	equal(t, "bucket", []string{stored()}, []string{"AES256"})
	for text, want := range map[string]string{
		"":       "400 MissingRequestBodyError",
		"<x/>":   "400 MalformedXML",
		rule(""): "200",
		rule(apply("<SSEAlgorithm>rot13</SSEAlgorithm>")):                                                                                             "400 MalformedXML",
		rule(apply("<SSEAlgorithm>aws:kms:dsse</SSEAlgorithm>")):                                                                                      "501 NotImplemented",
		rule(apply("<SSEAlgorithm>AES256</SSEAlgorithm><KMSMasterKeyID>main</KMSMasterKeyID>")):                                                       "400 InvalidArgument",
		rule("<BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes>"):                                               "501 NotImplemented",
		rule(apply("<SSEAlgorithm>AES256</SSEAlgorithm>") + "<BlockedEncryptionTypes><EncryptionType>NONE</EncryptionType></BlockedEncryptionTypes>"): "200",
	} {
		if a := r.do(call{method: "PUT", target: target, body: text}); strings.TrimSpace(a.String()) != want {
			t.Errorf("%s: %s, want %s", text, a, want)
		}
	}
	r.want(call{method: "PUT", target: target, body: kmsRule, user: rigReader}, "403 AccessDenied")
	r.want(call{method: "DELETE", target: target}, "204")
	r.want(call{method: "DELETE", target: target}, "204")
	cluster.Store(&Cluster{Name: "default"})
	r.want(call{method: "GET", target: target}, "404 ServerSideEncryptionConfigurationNotFoundError")
	equal(t, "none again", []string{stored()}, []string{""})
}

// Without keys nothing is stored in the clear that was to be encrypted, and what
// is encrypted is not served.
func TestKeysMissing(t *testing.T) {
	r := newSSERig(t, nil)
	r.want(call{method: "PUT", target: "/bkt/k", body: "secret", header: with(sseHeader, "AES256")}, "200")
	id := r.begin("/bkt/m", sseHeader, "aws:kms")
	for _, c := range []struct {
		fault  error
		keys   bool
		want   string
		reason string
	}{
		{kms.ErrUnavailable, true, "503 ServiceUnavailable", ""},
		{kms.ErrNoKey, true, "400 KMS.NotFoundException", ""},
		{kms.ErrDenied, true, "403 AccessDenied", "Key management denied"},
		{kms.ErrUnwrap, true, "500 InternalError", "key does not open"},
		{nil, false, "400 KMS.NotFoundException", "none is configured"},
	} {
		r.kms.fail(c.fault)
		r.s.cfg.Keys = nil
		if c.keys {
			r.s.cfg.Keys = r.ring(t, r.engine) // a new start: nothing is in memory
		}
		for _, q := range []call{
			{method: "GET", target: "/bkt/k"},
			{method: "PUT", target: "/bkt/new", body: "secret", header: with(sseHeader, "AES256")},
			{method: "PUT", target: "/bkt/new", header: with(copySourceHeader, "/bkt/k")},
			{method: "PUT", target: partURL("/bkt/m", id, 1), body: "secret"},
			{method: "POST", target: "/bkt/new?uploads", header: with(sseHeader, "aws:kms")},
		} {
			a := r.want(q, c.want)
			if c.fault == kms.ErrUnavailable && a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			if !strings.Contains(a.body, c.reason) {
				t.Errorf("%v: %s", c.fault, a.body)
			}
		}
		r.want(call{method: "HEAD", target: "/bkt/k"}, "200")
		// A customer's key needs no keys of ours.
		r.want(call{method: "PUT", target: "/bkt/c", body: "x", header: with(customer("c")...)}, "200")
		r.want(call{method: "GET", target: "/bkt/new"}, "404 NoSuchKey")
	}
	r.kms.fail(nil)
	r.s.cfg.Keys = r.ring(t, r.engine)
	if a := r.want(call{method: "GET", target: "/bkt/k"}, "200"); a.body != "secret" {
		t.Errorf("after the outage: %q", a.body)
	}
	// The ring's documents are lost: a clear error, not a wrong answer.
	docs := rigDocs{r.engine.Docs("")}
	must(t, docs.List(t.Context(), "keys/", func(path string, _ []byte, _ int64) error { return docs.Delete(t.Context(), path, -1) }))
	r.s.cfg.Keys = r.ring(t, r.engine)
	r.want(call{method: "GET", target: "/bkt/k"}, "400 KMS.NotFoundException")
}

// A seal opens for its own bucket, key, context and mode only.
func TestSealBinding(t *testing.T) {
	r := newSSERig(t, nil)
	ctx := t.Context()
	for name, how := range map[string]encryption{
		"SSE-S3":  {mode: meta.SealS3},
		"SSE-KMS": {mode: meta.SealKMS, keyID: "second", context: testContext},
		"SSE-C":   {mode: meta.SealCustomer, customer: &customerKey{[32]byte{1}}},
	} {
		req := &request{s: r.s, key: "k", b: meta.Bucket{ID: 7}}
		s, key, err := req.newSeal(&how)
		must(t, err)
		again, err := r.s.openSeal(ctx, s, 7, "k", how.customer)
		if err != nil || again.ETag([16]byte{1}) != key.ETag([16]byte{1}) {
			t.Fatalf("%s: %v", name, err)
		}
		for what, edit := range map[string]func(s *meta.Seal, b *meta.BucketID, k *string){
			"bucket":  func(_ *meta.Seal, b *meta.BucketID, _ *string) { *b = 8 },
			"key":     func(_ *meta.Seal, _ *meta.BucketID, k *string) { *k = "l" },
			"context": func(s *meta.Seal, _ *meta.BucketID, _ *string) { s.Context += "=" },
			"key id":  func(s *meta.Seal, _ *meta.BucketID, _ *string) { s.KeyID += "x" },
			"binding": func(s *meta.Seal, _ *meta.BucketID, _ *string) { s.Binding[3] ^= 1 },
			"box":     func(s *meta.Seal, _ *meta.BucketID, _ *string) { s.Box = bytes.Clone(s.Box); s.Box[40] ^= 1 },
		} {
			forged, bucket, k := *s, meta.BucketID(7), "k"
			edit(&forged, &bucket, &k)
			if _, err := r.s.openSeal(ctx, &forged, bucket, k, how.customer); !errors.Is(err, seal.ErrOpen) && !errors.Is(err, errWrongKey) {
				t.Errorf("%s, another %s: %v", name, what, err)
			}
		}
	}
	a, b := sealAAD(&meta.Seal{KeyID: "a", Context: "bc"}, 1, "k"), sealAAD(&meta.Seal{KeyID: "ab", Context: "c"}, 1, "k")
	if bytes.Equal(a, b) {
		t.Error("fields run into one another")
	}
}

func TestKMSName(t *testing.T) {
	for id, want := range map[string]string{
		"": "", "main": "main", "alias/main": "main", "arn:aws:kms:us-east-1:1:key/1234-ab": "1234-ab",
		"arn:aws:kms:us-east-1:1:alias/main": "main", "arn:": "",
	} {
		if got := kmsName(id); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
}

// The anonymous may use what is encrypted for everybody, but no KMS key.
func TestAnonymousEncryption(t *testing.T) {
	r := newSSERig(t, nil)
	r.want(call{method: "PUT", target: "/bkt?policy", body: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",
		"Action":["s3:PutObject","s3:GetObject"],"Resource":"arn:aws:s3:::bkt/*"}]}`}, "204")
	r.want(call{method: "PUT", target: "/bkt/kms", body: "x", header: with(sseHeader, "aws:kms")}, "200")
	for name, v := range map[string]struct {
		c    call
		want string
	}{
		"PUT SSE-S3":  {call{method: "PUT", target: "/bkt/s3", body: "x", header: with(sseHeader, "AES256")}, "200"},
		"PUT SSE-C":   {call{method: "PUT", target: "/bkt/c", body: "x", header: with(customer("c")...)}, "200"},
		"PUT SSE-KMS": {call{method: "PUT", target: "/bkt/new", body: "x", header: with(sseHeader, "aws:kms")}, "400 InvalidArgument"},
		"GET SSE-KMS": {call{method: "GET", target: "/bkt/kms"}, "400 InvalidArgument"},
		"HEAD":        {call{method: "HEAD", target: "/bkt/kms"}, "400"},
	} {
		v.c.user = "-"
		if a := r.do(v.c); strings.TrimSpace(a.String()) != v.want {
			t.Errorf("%s: %s, want %s\n%s", name, a, v.want, a.body)
		}
	}
	r.want(call{method: "GET", target: "/bkt/s3", user: "-"}, "200")
	r.want(call{method: "GET", target: "/bkt/c", user: "-", header: with(customer("c")...)}, "200")
	r.want(call{method: "PUT", target: "/bkt?encryption", body: "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>" +
		"<SSEAlgorithm>aws:kms</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"}, "200")
	r.want(call{method: "PUT", target: "/bkt/new", body: "x", user: "-"}, "400 InvalidArgument")
}

// Forms ask for encryption by their fields.
func TestEncryptedForm(t *testing.T) {
	r := newSSERig(t, nil)
	for name, m := range modes {
		fields := [][2]string{{"key", "form"}}
		conditions := slices.Clone(anyKey)
		for i := 0; i < len(m.header); i += 2 {
			fields = append(fields, [2]string{m.header[i], m.header[i+1]})
			conditions = append(conditions, []any{"starts-with", "$" + m.header[i], ""})
		}
		a := r.want(postCall(form(signedForm(rigUser, time.Now(), conditions, fields...), "from a form")), "204")
		wantTold(t, name, a, m.told)
		if a := r.want(call{method: "GET", target: "/bkt/form", header: with(m.read...)}, "200"); a.body != "from a form" {
			t.Errorf("%s: %q", name, a.body)
		}
		r.wantStored(name, "/bkt/form", "from a form", name != "none")
	}
}

func FuzzContext(f *testing.F) {
	f.Add(testContext)
	f.Add("e30=")
	f.Add("bnVsbA==")
	f.Fuzz(func(t *testing.T, v string) {
		if validContext(v) && (len(v) > maxContext || !headerSafe(v) && !strings.ContainsAny(v, "\r\n")) {
			t.Fatalf("%q", v)
		}
		if name := kmsName(v); len(name) > len(v) {
			t.Fatalf("%q: %q", v, name)
		}
	})
}
