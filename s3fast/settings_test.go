package s3fast

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast/policy"
)

// A settings document that cannot be read closes the bucket to all but repair.
func TestDamagedSettings(t *testing.T) {
	r := newRig(t, nil)
	ctx := t.Context()
	r.bucket("bkt")
	r.put("/bkt/k", "x")
	docs := r.engine.Docs("bkt")
	for _, c := range []struct{ doc, value string }{
		{docPolicy, "{"}, {docPublicAccess, `{"new_field":true}`}, {docOwnership, "Everybody"}, {docEncryption, `{"algorithm":"ROT13"}`},
		{docEncryption, `{"algorithm":"AES256"} x`},
	} {
		_, err := docs.Put(ctx, c.doc, []byte(c.value), -1)
		must(t, err)
		b, err := r.engine.Bucket(ctx, "bkt")
		must(t, err)
		r.s.settings.forget(b.ID)
		r.want(call{method: "GET", target: "/bkt/k"}, "403 AccessDenied")
		r.want(call{method: "DELETE", target: "/bkt"}, "403 AccessDenied")
		r.want(anon("GET", "/bkt/k"), "403 AccessDenied")
		r.want(call{method: "PUT", target: "/bkt?policy", user: rigReader, body: "{}"}, "403 AccessDenied")
		set, err := r.s.BucketSettings(ctx, "bkt")
		if err != nil || !strings.Contains(set.Damaged, c.doc) {
			t.Errorf("settings: %+v, %v", set, err)
		}
		switch c.doc {
		case docPolicy:
			if a := r.want(call{method: "GET", target: "/bkt?policy"}, "200"); a.body != c.value {
				t.Errorf("policy %q", a.body)
			}
			r.setPolicy(allow("*", "GetObject", "/*", ""))
		case docPublicAccess:
			r.want(call{method: "GET", target: "/bkt?publicAccessBlock"}, "500 InternalError")
			r.want(call{method: "DELETE", target: "/bkt?publicAccessBlock"}, "204")
		case docOwnership:
			r.want(call{method: "GET", target: "/bkt?ownershipControls"}, "500 InternalError")
			r.want(call{method: "DELETE", target: "/bkt?ownershipControls"}, "204")
		case docEncryption:
			must(t, r.s.SetBucketEncryption(ctx, "bkt", "", ""))
		}
		r.want(call{method: "GET", target: "/bkt/k"}, "200")
	}
}

// Settings change while requests are decided: a request that begins after a
// change has returned is decided by it, and never by anything but a policy that
// was in force.
func TestSettingsRace(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "x")
	open, closed := []byte(policyText(allow("*", "GetObject", "/*", ""))), []byte(policyText(allow("*", "GetObject", "/x", "")))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	b, err := r.engine.Bucket(ctx, "bkt")
	must(t, err)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ; ctx.Err() == nil; time.Sleep(20 * time.Microsecond) {
				set, err := r.s.settingsOf(ctx, &b)
				if err != nil || set.policy == nil && set != plainSettings || set.damaged != nil {
					t.Errorf("settings %+v, %v", set, err)
					return
				}
			}
		})
	}
	for i := range 100 {
		doc, want := open, "200"
		if i%2 == 1 {
			doc, want = closed, "403 AccessDenied"
		}
		if i%7 == 6 {
			must(t, r.s.DeleteBucketPolicy(ctx, "bkt"))
			want = "403 AccessDenied"
		} else {
			must(t, r.s.SetBucketPolicy(ctx, "bkt", doc))
		}
		r.want(anon("GET", "/bkt/k"), want)
	}
	stop()
	readers.Wait()
}

// The exported methods for the admin socket.
func TestSettingsMethods(t *testing.T) {
	r := newRig(t, nil)
	ctx := t.Context()
	s := r.s
	if _, _, err := s.BucketPolicy(ctx, "none"); engine.KindOf(err) != engine.NoBucket {
		t.Error(err)
	}
	if err := s.SetBucketPolicy(ctx, "none", []byte("{}")); engine.KindOf(err) != engine.NoBucket {
		t.Error(err)
	}
	if err := errors.Join(s.DeleteBucketPolicy(ctx, "none"), s.SetBucketEncryption(ctx, "none", "", "")); err == nil {
		t.Error("no error")
	}
	r.bucket("bkt")
	if doc, ok, err := s.BucketPolicy(ctx, "bkt"); doc != nil || ok || err != nil {
		t.Error(doc, ok, err)
	}
	if err := s.SetBucketPolicy(ctx, "bkt", []byte("{}")); !errors.Is(err, policy.ErrMalformed) {
		t.Error(err)
	}
	for _, name := range []string{PresetNone, PresetDownload, PresetUpload, PresetPublic} {
		doc, ok := PresetPolicy(name, "bkt")
		if !ok {
			t.Fatal(name)
		}
		if doc != nil {
			must(t, s.SetBucketPolicy(ctx, "bkt", doc))
		}
		set, err := s.BucketSettings(ctx, "bkt")
		if err != nil || set.Policy != name || set.Public != (name != PresetNone) || set.Ownership != ownershipEnforced {
			t.Errorf("%s: %+v, %v", name, set, err)
		}
	}
	must(t, s.DeleteBucketPolicy(ctx, "bkt"))
	must(t, s.DeleteBucketPolicy(ctx, "bkt"))
	for _, c := range []struct{ algorithm, key string }{{"AES256", "k"}, {"aes256", ""}, {"", "k"}, {"aws:kms", strings.Repeat("k", 3000)}} {
		if err := s.SetBucketEncryption(ctx, "bkt", c.algorithm, c.key); !errors.Is(err, ErrBadEncryption) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	must(t, s.SetBucketEncryption(ctx, "bkt", "aws:kms", "k"))
	r.want(call{method: "PUT", target: "/bkt?publicAccessBlock", body: "<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy></PublicAccessBlockConfiguration>"}, "200")
	doc, _ := PresetPolicy(PresetDownload, "bkt")
	if err := s.SetBucketPolicy(ctx, "bkt", doc); !errors.Is(err, ErrPublicPolicyBlocked) {
		t.Error(err)
	}
	set, err := s.BucketSettings(ctx, "bkt")
	want, _ := json.Marshal(BucketSettings{Policy: PresetNone, PublicAccessBlock: []string{"BlockPublicPolicy"},
		Ownership: ownershipEnforced, Encryption: "aws:kms", EncryptionKey: "k"})
	if got, _ := json.Marshal(set); err != nil || string(got) != string(want) {
		t.Errorf("%s, %v", got, err)
	}
}
