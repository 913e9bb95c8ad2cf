package audit

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFixture: a spool and a configuration that version 1 wrote are read for ever.
// The files are made once, with -update in the release that makes a new version.
func TestFixture(t *testing.T) {
	from := filepath.Join("testdata", "v1")
	conf := Config{Enabled: true, Endpoint: "https://splunk:8088/services/collector/raw", Token: "Splunk fixture", Batch: DefaultBatch()}
	if *update {
		must(t, os.MkdirAll(from, 0o700))
		s := testSpool(t, from)
		must(t, s.put(pack("one", "two"), time.Unix(1, 0), MaxSpool))
		must(t, s.put(pack("three"), time.Unix(2, 0), MaxSpool))
		must(t, s.acknowledge(2))
		l := loss{}
		l.add(7, time.Unix(3, 0), time.Unix(4, 0))
		must(t, s.setLost(l))
		must(t, s.close())
		doc, err := conf.Marshal(testKey)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(from, "config.json"), doc, 0o600))
	}
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(from)))
	s := testSpool(t, dir)
	if ack, next, _ := s.position(); ack != 2 || next != 4 || s.cursor.state.lost.n != 7 {
		t.Errorf("acknowledged before %d, next %d, lost %+v", ack, next, s.cursor.state.lost)
	}
	equal(t, readAll(s, 2), "two", "three")
	must(t, s.close())
	doc, err := os.ReadFile(filepath.Join(from, "config.json"))
	must(t, err)
	if got, err := Unmarshal(doc, testKey); err != nil || got != conf {
		t.Errorf("%+v, %v", got, err)
	}
}
