package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	goflag "flag"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/daemon/config"
	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/s3fast"
	"github.com/sluicehq/sluice/s3fast/iam"
)

var updateExport = goflag.Bool("update-export", false, "rewrite the golden export")

const (
	exportPhrase = "correct horse battery staple"
	goldenExport = "testdata/export-1.json"
)

// ask sends an admin request and decodes the answer into out (nil: not looked at). It
// returns the refusal.
func (d *daemon) ask(t testing.TB, method, path string, in, out any) *api.Error {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	d.adminMux().ServeHTTP(w, asRoot(method, path, string(body)))
	if w.Code/100 != 2 {
		refusal := &api.Error{Status: w.Code}
		if err := json.Unmarshal(w.Body.Bytes(), refusal); err != nil {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return refusal
	}
	if out != nil {
		if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
			t.Fatalf("%s: %v", w.Body, err)
		}
	}
	return nil
}

// do is ask of what must succeed.
func (d *daemon) do(t testing.TB, method, path string, in, out any) {
	t.Helper()
	if refusal := d.ask(t, method, path, in, out); refusal != nil {
		t.Fatalf("%s %s: %v", method, path, refusal)
	}
}

const readsA = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::alpha/*"}]}`

// furnish gives a daemon something of everything.
func furnish(t testing.TB, d *daemon) (keys map[string]string) {
	t.Helper()
	d.do(t, "POST", "/v1/cluster", api.CreateCluster{Name: "first", ConfigFS: configFS, Domains: []string{"s3.example.com"}, Parity: "1"}, nil)
	d.do(t, "POST", "/v1/policies", api.PutPolicy{Name: "reads-a", Document: readsA}, nil)
	for name, role := range map[string]string{"alice": "s3", "bob": "s3", "boss": "clusteradmin"} {
		d.do(t, "POST", "/v1/users", api.CreateUser{Name: name, Role: role, Password: "Secret-of-" + name}, nil)
	}
	d.do(t, "POST", "/v1/policies/reads-a/attach", api.AttachPolicy{User: "alice"}, nil)
	d.do(t, "POST", "/v1/groups", map[string]string{"name": "staff"}, nil)
	d.do(t, "POST", "/v1/policies/readwrite/attach", api.AttachPolicy{Group: "staff"}, nil)
	d.do(t, "PATCH", "/v1/groups/staff/members", map[string][]string{"add": {"bob"}}, nil)
	_, pair, err := d.iam.AddServiceAccount(t.Context(), "bob", iamAccount())
	if err != nil {
		t.Fatal(err)
	}
	rate := 12.5
	d.do(t, "PATCH", "/v1/limits", api.SetLimits{Scope: api.ScopeUser, User: "alice", RequestsPerSecond: &rate}, nil)
	d.do(t, "PUT", "/v1/oidc/corp", api.OIDCProvider{Name: "corp", Issuer: "https://login.example.com", ClientIDs: []string{"x"}}, nil)
	d.do(t, "PUT", "/v1/audit-webhook", api.EnableAudit{Endpoint: "http://127.0.0.1:1/?code=hidden-in-the-query", AuthToken: "Bearer hidden-token"}, nil)
	d.do(t, "DELETE", "/v1/audit-webhook", nil, nil)
	period := "48h0m0s"
	d.do(t, "PATCH", "/v1/scrub", api.SetScrub{Period: &period}, nil)
	d.do(t, "POST", "/v1/buckets", api.CreateBucket{Name: "alpha", Policy: "download"}, nil)
	d.do(t, "POST", "/v1/buckets", api.CreateBucket{Name: "beta", Parity: "0"}, nil)
	if err := d.s3.SetBucketEncryption(t.Context(), "beta", "AES256", ""); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"alice": "Secret-of-alice", "bob": "Secret-of-bob", pair.AccessKey: pair.SecretKey}
}

// onDrives makes a daemon of n drives.
func onDrives(t testing.TB, n int) *daemon {
	return newDaemon(t, func(cfg *config.Config) {
		for i := 1; i < n; i++ {
			cfg.Drives = append(cfg.Drives, fmt.Sprintf("%s%d", cfg.Drives[0], i))
		}
		cfg.DriveSize = 64 << 20
	})
}

func exportOf(t testing.TB, d *daemon, passphrase string) api.Exported {
	t.Helper()
	var out api.Exported
	d.do(t, "POST", "/v1/export", api.Export{Passphrase: passphrase}, &out)
	return out
}

// contentOf returns what an export says, without what differs from one to the next.
func contentOf(t testing.TB, doc []byte) string {
	t.Helper()
	file, err := readExport(doc)
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := file.open(exportPhrase)
	if err != nil {
		t.Fatal(err)
	}
	c.Created = time.Time{}
	text, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func countActions(out *api.Imported) string {
	n := map[string]int{}
	for _, c := range out.Changes {
		n[c.Action]++
	}
	return fmt.Sprint(n)
}

// A configuration that goes from one daemon to another is the same there, signs the
// same, and is decided the same; a second import has nothing to do.
func TestExportImport(t *testing.T) {
	from, to := onDrives(t, 2), onDrives(t, 2)
	keys := furnish(t, from)
	sealed := exportOf(t, from, exportPhrase)
	for _, secret := range []string{"Secret-of-", "hidden", "argon2id$"} {
		if bytes.Contains(sealed.Document, []byte(secret)) {
			t.Errorf("%q is to be read in the export", secret)
		}
	}
	in := api.Import{Document: sealed.Document, Passphrase: exportPhrase, DryRun: true}
	var dry, did, again api.Imported
	to.do(t, "POST", "/v1/import", in, &dry)
	if to.clusters.current.Load() != nil || to.iam.CountUsers() != 0 {
		t.Fatal("the dry run did something")
	}
	in.DryRun = false
	to.do(t, "POST", "/v1/import", in, &did)
	if fmt.Sprint(dry.Changes) != fmt.Sprint(did.Changes) || countActions(&did) != "map[add:16]" {
		t.Errorf("did %v\nsaid %v", did, dry)
	}
	to.do(t, "POST", "/v1/import", in, &again)
	if countActions(&again) != "map[unchanged:16]" {
		t.Errorf("again: %+v", again)
	}
	bare, bare2 := exportOf(t, from, ""), exportOf(t, to, "")
	if a, b := contentOf(t, bare.Document), contentOf(t, bare2.Document); a != b {
		t.Errorf("%s\nbecame\n%s", a, b)
	}
	for key, secret := range keys {
		if got, ok := to.iam.Secret(key); !ok || got != secret {
			t.Errorf("%s does not sign as before", key)
		}
	}
	if !to.iam.CheckPassword("boss", "Secret-of-boss") {
		t.Error("the administrator's password is another")
	}
	if got, want := to.audit.hook.Config(), from.audit.hook.Config(); got != want {
		t.Errorf("audit: %+v", got)
	}
	if p, n := to.engine.Protection(); p != 1 || n != 2 {
		t.Errorf("parity %d of %d drives", p, n)
	}
	for _, in := range []api.Simulate{
		{User: "alice", Action: "GetObject", Resource: "alpha/k"}, {User: "alice", Action: "PutObject", Resource: "alpha/k"},
		{User: "bob", Action: "PutObject", Resource: "beta/k"}, {Anonymous: true, Action: "GetObject", Resource: "alpha/k"},
		{Anonymous: true, Action: "GetObject", Resource: "beta/k"},
	} {
		var a, b api.Simulation
		from.do(t, "POST", "/v1/policies/simulate", in, &a)
		to.do(t, "POST", "/v1/policies/simulate", in, &b)
		if a.Decision != b.Decision {
			t.Errorf("%+v: %s, and there %s", in, b.Decision, a.Decision)
		}
	}
}

// What is there is replaced only when that is asked for, and never in part.
func TestImportReplaces(t *testing.T) {
	from, to := onDrives(t, 2), onDrives(t, 1)
	furnish(t, from)
	sealed := exportOf(t, from, exportPhrase)
	to.do(t, "POST", "/v1/cluster", api.CreateCluster{Name: "second", ConfigFS: configFS}, nil)
	to.do(t, "POST", "/v1/users", api.CreateUser{Name: "alice", Role: "s3", Password: "Other-secret-1"}, nil)
	to.do(t, "POST", "/v1/buckets", api.CreateBucket{Name: "alpha", Policy: "upload"}, nil)
	in := api.Import{Document: sealed.Document, Passphrase: exportPhrase}
	before := exportOf(t, to, "")
	refusal := to.ask(t, "POST", "/v1/import", in, nil)
	if refusal == nil || refusal.Code != api.CodeConflict || !strings.Contains(refusal.Message, "user alice") {
		t.Fatalf("%v", refusal)
	}
	if contentOf(t, before.Document) != contentOf(t, exportOf(t, to, "").Document) {
		t.Error("refused, and yet something was changed")
	}
	in.Replace = true
	var did api.Imported
	to.do(t, "POST", "/v1/import", in, &did)
	notes := map[string]string{}
	for _, c := range did.Changes {
		notes[c.Kind+" "+c.Name] = c.Action + " " + c.Note
	}
	for name, want := range map[string]string{
		"user alice": "replace ", "bucket alpha": "unchanged ", "bucket-setting alpha/policy": "replace ", "bucket beta": "add ",
		"cluster first": "replace parity auto instead of 1, which the drives here are too few for",
	} {
		if notes[name] != want {
			t.Errorf("%s: %q, want %q", name, notes[name], want)
		}
	}
	if rec := to.clusters.current.Load(); rec.Name != "first" || rec.Parity != "" || rec.Domains[0] != "s3.example.com" {
		t.Errorf("%+v", rec)
	}
	if s, _ := to.iam.Secret("alice"); s != "Secret-of-alice" {
		t.Error("alice has her old secret")
	}
}

// An export without secrets lets nobody in.
func TestImportWithoutSecrets(t *testing.T) {
	from, to := onDrives(t, 2), onDrives(t, 2)
	furnish(t, from)
	bare := exportOf(t, from, "")
	if bare.Sealed || len(bare.Notes) != 2 || strings.Contains(string(bare.Document), "hidden") {
		t.Errorf("notes %q", bare.Notes)
	}
	var did api.Imported
	to.do(t, "POST", "/v1/import", api.Import{Document: bare.Document}, &did)
	locked := 0
	for _, c := range did.Changes {
		if strings.HasPrefix(c.Note, "no secret was exported") {
			locked++
		}
	}
	if locked != 4 {
		t.Errorf("%+v", did.Changes)
	}
	if s, ok := to.iam.Secret("alice"); !ok || s == "Secret-of-alice" || to.iam.CheckPassword("boss", "Secret-of-boss") {
		t.Error("a secret came through")
	}
}

// Whoever lacks the passphrase can change nothing in a sealed export.
func TestImportRefusals(t *testing.T) {
	d := onDrives(t, 2)
	furnish(t, d)
	sealed := exportOf(t, d, exportPhrase).Document
	edit := func(old, new string) []byte {
		out := bytes.Replace(sealed, []byte(old), []byte(new), 1)
		if bytes.Equal(out, sealed) {
			t.Fatalf("%q is not in the export", old)
		}
		return out
	}
	for name, c := range map[string]struct {
		doc        []byte
		passphrase string
		want       string
	}{
		"wrong passphrase": {sealed, "something else", "passphrase is not the export's"},
		"no passphrase":    {sealed, "", "give its passphrase"},
		"other role":       {edit(`"role":"s3"`, `"role":"regular"`), exportPhrase, "was changed since"},
		"other policy":     {edit("s3:GetObject", "s3:PutObject"), exportPhrase, "was changed since"},
		"seal removed":     {[]byte(`{"format":"sluice-export","version":1,"content":` + string(contentField(t, sealed)) + `}`), "", "secrets"},
		"newer":            {edit(`"version":1`, `"version":2`), exportPhrase, "has version 2, and this daemon knows 1"},
		"another format":   {[]byte(`{"format":"tar"}`), "", "no export"},
		"unknown field":    {edit(`"version":1`, `"version":1,"more":1`), exportPhrase, "malformed export"},
		"memory":           {edit(`"memory_kib":65536`, `"memory_kib":4194304`), exportPhrase, "key derivation"},
		"passes":           {edit(`"time":3`, `"time":1000`), exportPhrase, "key derivation"},
	} {
		refusal := d.ask(t, "POST", "/v1/import", api.Import{Document: c.doc, Passphrase: c.passphrase, Replace: true}, nil)
		if refusal == nil || refusal.Code == api.CodeInternal || !strings.Contains(refusal.Message, c.want) {
			t.Errorf("%s: %v, want %q", name, refusal, c.want)
		}
	}
	if refusal := d.ask(t, "POST", "/v1/export", api.Export{Passphrase: "short"}, nil); refusal == nil || refusal.Code != api.CodeUsage {
		t.Errorf("short passphrase: %v", refusal)
	}
	if refusal := d.ask(t, "POST", "/v1/import", api.Import{}, nil); refusal == nil || refusal.Code != api.CodeUsage {
		t.Errorf("no document: %v", refusal)
	}
}

// All of an export is checked before the first change.
func TestImportContentRefusals(t *testing.T) {
	d := onDrives(t, 2)
	furnish(t, d)
	file, err := readExport(exportOf(t, d, exportPhrase).Document)
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := file.open(exportPhrase)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(c *exportContent)
		want   string
	}{
		"two buckets":     {func(c *exportContent) { c.Buckets = append(c.Buckets, c.Buckets[0]) }, "twice"},
		"bucket name":     {func(c *exportContent) { c.Buckets[0].Name = "Alpha/.." }, "bucket name"},
		"bucket owner":    {func(c *exportContent) { c.Buckets[0].Owner = "" }, "owner"},
		"unknown setting": {func(c *exportContent) { c.Buckets[0].Documents["lifecycle"] = "x" }, "lifecycle"},
		"bad setting":     {func(c *exportContent) { c.Buckets[0].Documents["parity"] = "9" }, "parity"},
		"bad policy":      {func(c *exportContent) { c.Buckets[0].Documents["policy"] = "{}" }, "policy"},
		"bad limit":       {func(c *exportContent) { c.Limits.Default.Burst = -1 }, "burst"},
		"cluster name":    {func(c *exportContent) { c.Cluster.Name = "-" }, "cluster name"},
		"domain":          {func(c *exportContent) { c.Cluster.Domains = []string{"a..b"} }, "domain"},
		"cluster parity":  {func(c *exportContent) { c.Cluster.Parity = "many" }, "parity"},
		"encrypted":       {func(c *exportContent) { c.Cluster.Encrypted = true }, "encrypted"},
		"scrub":           {func(c *exportContent) { c.Scrub.Period = "1s" }, "scrub"},
		"provider":        {func(c *exportContent) { c.OIDC[0] = json.RawMessage(`{"v":9}`) }, "OIDC"},
		"provider twice":  {func(c *exportContent) { c.OIDC = append(c.OIDC, c.OIDC[0]) }, "OIDC"},
		"audit":           {func(c *exportContent) { c.SealedAudit = []byte("x") }, "box"},
		"audit twice":     {func(c *exportContent) { c.Audit = json.RawMessage(`{}`) }, "sealed_audit"},
	} {
		content := new(exportContent)
		if err := strictDecode(file.Content, content); err != nil {
			t.Fatal(err)
		}
		c.change(content)
		p := importPlan{d: d, key: key, replace: true}
		err := p.make(t.Context(), content)
		if err == nil {
			t.Errorf("%s: not refused", name)
			continue
		}
		if refusal := toRefusal(importRefusal(err)); refusal.Code == api.CodeInternal || !strings.Contains(refusal.Message, c.want) {
			t.Errorf("%s: %v, want %q", name, refusal, c.want)
		}
	}
}

func contentField(t testing.TB, doc []byte) json.RawMessage {
	t.Helper()
	var file exportFile
	if err := json.Unmarshal(doc, &file); err != nil {
		t.Fatal(err)
	}
	return file.Content
}

// An export of version 1 can be imported for ever.
func TestGoldenExport(t *testing.T) {
	if *updateExport {
		d := onDrives(t, 2)
		furnish(t, d)
		var text bytes.Buffer
		if err := json.Indent(&text, exportOf(t, d, exportPhrase).Document, "", "  "); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenExport, append(text.Bytes(), '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	doc, err := os.ReadFile(filepath.FromSlash(goldenExport))
	if err != nil {
		t.Fatal(err)
	}
	d := onDrives(t, 2)
	var did api.Imported
	d.do(t, "POST", "/v1/import", api.Import{Document: doc, Passphrase: exportPhrase}, &did)
	if countActions(&did) != "map[add:16]" {
		t.Errorf("%+v", did.Changes)
	}
	if s, ok := d.iam.Secret("alice"); !ok || s != "Secret-of-alice" || !d.iam.CheckPassword("boss", "Secret-of-boss") {
		t.Error("a secret is another")
	}
	if c := d.audit.hook.Config(); c.Token != "Bearer hidden-token" || !strings.HasSuffix(c.Endpoint, "hidden-in-the-query") {
		t.Errorf("audit %+v", c)
	}
	if set, err := d.s3.BucketSettings(t.Context(), "alpha"); err != nil || set.Policy != "download" {
		t.Errorf("%+v, %v", set, err)
	}
	if set, err := d.s3.BucketSettings(t.Context(), "beta"); err != nil || set.Encryption != "AES256" {
		t.Errorf("%+v, %v", set, err)
	}
	if got := d.limits.Settings().Users["alice"]; got != (s3fast.Rates{Requests: 12.5}) {
		t.Errorf("%+v", got)
	}
}

// Users sign with their old secrets in another process, and are let in and kept out
// as before.
func TestExportedUsersSign(t *testing.T) {
	ctx := context.Background()
	first := newNode(t).serve()
	if status, text := first.s3("PUT", "/"+nodeBucket+"/k", "", []byte("x")); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	out, err := first.admin.Export(ctx, api.Export{Passphrase: exportPhrase})
	if err != nil {
		t.Fatal(err)
	}
	first.stop()
	second := newNode(t)
	second.start()
	second.up("/-/live")
	if _, err := second.admin.Import(ctx, api.Import{Document: out.Document, Passphrase: exportPhrase}); err != nil {
		t.Fatal(err)
	}
	second.up("/-/ready")
	for range 2 {
		if keys := second.keys(); len(keys) != 0 {
			t.Errorf("objects came along: %v", keys)
		}
		if status, text := second.s3("PUT", "/"+nodeBucket+"/k", "", []byte("x")); status != 200 {
			t.Errorf("%d %s", status, text)
		}
		if status, _ := second.s3("DELETE", "/"+nodeBucket+"/k", "", nil); status != 204 {
			t.Errorf("%d", status)
		}
		second.kill() // what was imported is durable
		second.start()
		second.up("/-/ready")
	}
	if _, err := second.admin.DetachPolicy(ctx, "readwrite", api.AttachPolicy{User: nodeUser}); err != nil {
		t.Fatal(err)
	}
	if status, _ := second.s3("PUT", "/"+nodeBucket+"/k", "", []byte("x")); status != 403 {
		t.Errorf("without a policy: %d", status)
	}
	var refusal *api.Error
	if _, err := second.admin.Import(ctx, api.Import{Document: out.Document, Passphrase: exportPhrase}); !errors.As(err, &refusal) || refusal.Code != api.CodeConflict {
		t.Errorf("%v", err)
	}
}

// Whatever is read as an export is refused or well-formed, and takes no more memory
// and time than the bounds say.
func FuzzReadExport(f *testing.F) {
	golden, err := os.ReadFile(goldenExport)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(`{"format":"sluice-export","version":1,"content":{"created":"2026-05-04T03:02:01Z","daemon":"","policies":null,"groups":null,"users":null,"service_accounts":null,"oidc":null,"buckets":[]}}`))
	f.Add([]byte(`{"format":"sluice-export","version":1,"seal":{"kdf":"argon2id","time":1,"memory_kib":8,"lanes":1,"salt":"AAAAAAAAAAAAAAAAAAAAAA==","check":""},"content":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := readExport(text)
		if err != nil {
			return
		}
		if s := file.Seal; s != nil {
			if s.Memory > kdfMemoryMax || s.Time > kdfTimeMax {
				t.Fatalf("%+v", s)
			}
			s.Time, s.Memory, s.Lanes = 1, 8, 1 // the rest is argon2's business
		}
		c, key, err := file.open(exportPhrase)
		if err != nil {
			return
		}
		if (key == nil) != (file.Seal == nil) {
			t.Fatal("sealed, and no key")
		}
		var again []byte
		if key == nil {
			again, err = encodeExport(c, nil, nil)
		} else {
			again, err = encodeExport(c, file.Seal, key)
		}
		if err != nil {
			t.Fatal(err)
		}
		if file, err = readExport(again); err == nil {
			_, _, err = file.open(exportPhrase)
		}
		if err != nil {
			t.Fatalf("what was read cannot be written and read: %v", err)
		}
	})
}

func TestPassphraseKey(t *testing.T) {
	s := &exportSeal{KDF: kdfName, Time: 1, Memory: 8, Lanes: 1, Salt: make([]byte, kdfSalt)}
	if err := s.check(); err != nil {
		t.Fatal(err)
	}
	box := s.key("one passphrase").Seal("c", []byte("x"))
	if _, err := s.key("one passphrase").Open("c", box); err != nil {
		t.Error(err)
	}
	if _, err := s.key("another passphrase").Open("c", box); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("opened by another passphrase: %v", err)
	}
	for name, bad := range map[string]exportSeal{
		"kdf": {KDF: "scrypt", Time: 1, Memory: 8, Lanes: 1, Salt: s.Salt}, "time": {KDF: kdfName, Memory: 8, Lanes: 1, Salt: s.Salt},
		"lanes": {KDF: kdfName, Time: 1, Memory: 8, Salt: s.Salt}, "memory": {KDF: kdfName, Time: 1, Memory: 15, Lanes: 2, Salt: s.Salt},
		"salt": {KDF: kdfName, Time: 1, Memory: 8, Lanes: 1, Salt: s.Salt[1:]},
	} {
		if bad.check() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	for _, phrase := range []string{"", "1234567", strings.Repeat("x", maxPassphrase+1)} {
		if checkPassphrase(phrase) == nil {
			t.Errorf("%d characters are accepted", len(phrase))
		}
	}
	if err := checkPassphrase("äöüäöüäö"); err != nil {
		t.Error(err)
	}
}

func iamAccount() iam.NewServiceAccount {
	return iam.NewServiceAccount{Name: "backup", Policy: []byte(readsA)}
}
